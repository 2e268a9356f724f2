import pytest
from own_bot import NOWHERE, dialled
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EagerEndOfTurnCancelFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.utils.errors import ErrorCategory
from told import (
    Told,
    broke,
    called,
    commit,
    final,
    paused,
    remembered,
    result,
    running,
    sound,
    span,
    tiles,
    verdict,
)

from antiphon_orchestrator.services import AntiphonLLMService, AntiphonSTTService
from antiphon_orchestrator.services.frames import AgentSilencedFrame, OverlapEndedFrame
from antiphon_orchestrator.services.speculation import mark_speculative
from antiphon_orchestrator.timeline import STAGES, Turn


@pytest.fixture
def told() -> Told:
    return Told()


async def test_an_answered_turn_is_tiled_by_its_stages(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.answers(2310)
    (turn,) = told.turns
    assert (turn.outcome, turn.heard, turn.answered) == ("answered", "Hello.", "Hi.")
    assert (turn.commit_reason, turn.llm_calls, turn.v2v_ms) == ("verdict", 1, 610)
    assert turn.stage_ms == {
        "pause": 200,
        "verdict": 50,
        "transcript": 50,
        "llm": 160,
        "clause": 50,
        "tts": 80,
        "transport": 20,
    }
    assert tiles(turn) and list(turn.stage_ms) == [name for name in STAGES if name != "tool"]


async def test_spans_say_when_everything_happened(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.answers(2310)
    (turn,) = told.turns
    assert span(turn, "speech") == (-1000, 0)
    assert span(turn, "verdict@200") == (220, 250)
    assert span(turn, "asr") == (250, 300)
    assert span(turn, "llm first token") == (310, 460)
    assert span(turn, "llm") == (310, 510)
    assert span(turn, "tts first audio") == (510, 590)
    assert span(turn, "agent speech") == (610, 1610)


async def test_a_turn_with_a_tool_names_it_and_sums_the_models_parts(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2400, called("get_time"), running("get_time"))
    await told.at(2410, LLMFullResponseEndFrame())
    await told.at(2600, result("get_time"))
    await told.answers(2650)
    (turn,) = told.turns
    assert (turn.outcome, turn.tools, turn.llm_calls) == ("answered", ["get_time"], 2)
    assert turn.stage_ms["llm"] == 100 + 150 and turn.stage_ms["tool"] == 250
    assert span(turn, "tool get_time") == (400, 600)
    assert tiles(turn)


async def test_what_is_said_before_a_tool_runs_does_not_end_the_turn(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2400, LLMTextFrame("Let me see."), called("get_time"), running("get_time"))
    await told.at(2410, LLMFullResponseEndFrame())
    await told.at(2450, sound(), BotStartedSpeakingFrame())
    await told.at(2900, remembered("Let me see."), BotStoppedSpeakingFrame())
    assert told.turns == []
    await told.at(4000, result("get_time"))
    await told.answers(4010, "Noon.")
    (turn,) = told.turns
    assert (turn.outcome, turn.answered, turn.v2v_ms) == ("answered", "Let me see. Noon.", 450)
    assert tiles(turn)


async def test_a_tool_that_is_faster_than_speech_does_not_hide_the_first_sound(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2400, LLMTextFrame("Let me see."), called("get_time"), running("get_time"))
    await told.at(2410, LLMFullResponseEndFrame(), result("get_time"))
    await told.at(2420, LLMFullResponseStartFrame())
    await told.at(2450, sound(10))
    await told.at(2460, BotStartedSpeakingFrame())
    await told.at(2500, LLMTextFrame("Noon."), LLMFullResponseEndFrame())
    await told.at(2600, remembered("Let me see."))
    await told.at(2900, remembered("Noon."), BotStoppedSpeakingFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.answered, turn.v2v_ms) == ("answered", "Let me see. Noon.", 460)
    assert tiles(turn)


async def test_an_interruption_before_the_first_sound_ends_the_turn_at_once(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2500, VADUserStartedSpeakingFrame(), UserStartedSpeakingFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.v2v_ms, turn.answered) == ("interrupted", None, "")


async def test_an_interrupted_answer_is_remembered_as_far_as_it_was_heard(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("One two three."))
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.at(3000, VADUserStartedSpeakingFrame(), AgentSilencedFrame(after_ms=90.0), UserStartedSpeakingFrame())
    assert told.turns == []
    await told.at(3010, BotStoppedSpeakingFrame(), remembered("One"))
    (turn,) = told.turns
    assert (turn.outcome, turn.answered, turn.v2v_ms) == ("interrupted", "One", 590)
    assert (turn.barge_in_ms, turn.false_interruptions) == (90.0, 0)
    assert span(turn, "agent speech") == (590, 1010)


async def test_an_interrupted_answer_of_which_nothing_was_heard_does_not_take_the_next_ones_words(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("One two three."))
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.asks(3000, 4000, "Stop.")
    await told.answers(4310, "Fine.")
    assert [(turn.outcome, turn.answered) for turn in told.turns] == [("interrupted", ""), ("answered", "Fine.")]


async def test_speech_that_does_not_stop_an_answer_is_in_its_timeline_and_no_turn(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame(), LLMTextFrame("One two three."), LLMFullResponseEndFrame())
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.speaks(3000, 3300, counts=False)
    await told.at(3310, AgentSilencedFrame(after_ms=110.0))
    await told.at(3520, commit(3300))
    await told.at(3530, final("Uh-huh."), OverlapEndedFrame(text="Uh-huh."))
    await told.at(4000, remembered("One two three."), BotStoppedSpeakingFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.heard, turn.answered) == ("answered", "Hello.", "One two three.")
    assert span(turn, "overlap") == (1060, 1530)
    assert (turn.false_interruptions, turn.barge_in_ms) == (1, None)


async def test_speech_that_stops_an_answer_only_by_its_words_is_a_turn_from_its_beginning(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame(), LLMTextFrame("One two three."), LLMFullResponseEndFrame())
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.speaks(3000, 3300, counts=False)
    await told.at(3520, commit(3300))
    await told.at(3530, UserStartedSpeakingFrame(), final("Stop."), UserStoppedSpeakingFrame())
    await told.at(3540, remembered("One"), BotStoppedSpeakingFrame())
    await told.answers(3550, "Fine.")
    assert [turn.outcome for turn in told.turns] == ["interrupted", "answered"]
    assert (told.turns[1].heard, told.turns[1].v2v_ms) == ("Stop.", 550) and tiles(told.turns[1])
    assert span(told.turns[1], "speech") == (-300, 0)


async def test_speech_over_the_last_of_an_answer_does_not_undo_it(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("Hi."), LLMFullResponseEndFrame())
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.at(3000, remembered("Hi."))
    await told.asks(3010, 4000, "Thanks.")
    await told.answers(4310, "Bye.")
    heard = [(turn.outcome, turn.heard, turn.answered) for turn in told.turns]
    assert heard == [("answered", "Hello.", "Hi."), ("answered", "Thanks.", "Bye.")]


async def test_a_short_answer_may_be_remembered_before_it_begins_to_sound(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("Hi."), LLMFullResponseEndFrame())
    await told.at(2590, sound(80), remembered("Hi."))
    await told.at(2600, BotStartedSpeakingFrame())
    await told.at(2900, BotStoppedSpeakingFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.v2v_ms) == ("answered", 600)


async def test_a_model_that_says_nothing_leaves_the_turn_unanswered(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2400, LLMFullResponseEndFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.v2v_ms) == ("unanswered", None)


async def test_a_model_that_says_nothing_after_its_tool_leaves_the_turn_unanswered(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame(), called("get_time"), LLMFullResponseEndFrame())
    await told.at(2400, result("get_time"), LLMFullResponseStartFrame(), LLMFullResponseEndFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.tools) == ("unanswered", ["get_time"])


async def test_an_answer_that_cannot_be_spoken_leaves_the_turn_unanswered(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame(), LLMTextFrame("…"), LLMFullResponseEndFrame())
    await told.at(2400, remembered("…"))
    (turn,) = told.turns
    assert (turn.outcome, turn.v2v_ms) == ("unanswered", None)


async def test_an_error_of_a_speaking_service_fails_the_turn(told: Told) -> None:
    async with dialled("llm", NOWHERE) as nobody:
        await told.asks(1000, 2000)
        await told.at(2310, LLMFullResponseStartFrame())
        await told.at(2400, broke(AntiphonLLMService(replicas=nobody), "no replica"), LLMFullResponseEndFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.error, turn.v2v_ms) == ("failed", "no replica", None)


async def test_an_answer_that_breaks_off_is_no_answer(told: Told) -> None:
    async with dialled("llm", NOWHERE) as nobody:
        await told.asks(1000, 2000)
        await told.at(2310, LLMFullResponseStartFrame())
        await told.at(2460, LLMTextFrame("One two three."))
        await told.at(2590, sound(80), BotStartedSpeakingFrame())
        await told.at(2700, broke(AntiphonLLMService(replicas=nobody), "lost"), LLMFullResponseEndFrame())
        await told.at(3000, remembered("One two"), BotStoppedSpeakingFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.error, turn.answered) == ("failed", "lost", "One two")


async def test_an_answer_for_which_a_service_is_out_of_order_for_good_fails_whenever_that_was_said(told: Told) -> None:
    async with dialled("llm", NOWHERE) as nobody:
        service = AntiphonLLMService(replicas=nobody)
        await service.set_usable(False)
        await told.at(500, broke(service, "no token"))
        for at_ms in (1000, 11_000):
            await told.asks(at_ms, at_ms + 1000)
            await told.at(at_ms + 1310, LLMFullResponseStartFrame(), LLMFullResponseEndFrame())
    assert [(turn.outcome, turn.error) for turn in told.turns] == [("failed", "no token")] * 2


async def test_an_error_of_a_listening_service_or_of_a_tool_fails_no_turn(told: Told) -> None:
    async with dialled("asr", NOWHERE) as nobody:
        await told.asks(1000, 2000)
        await told.at(2305, broke(AntiphonSTTService(replicas=nobody)))
        tool = broke(AntiphonLLMService(replicas=nobody), category=ErrorCategory.APPLICATION)
        await told.at(2306, tool)
        await told.answers(2310)
    assert [(turn.outcome, turn.error) for turn in told.turns] == [("answered", "")]


def test_json_counts_from_the_end_of_the_callers_speech_and_leaves_stages_out_without_an_answer() -> None:
    turn = Turn(7, speech_end_ns=5_000_000)
    turn.span("asr", 6_000_000, 7_500_000)
    turn.stage("pause", 6_000_000)
    assert turn.to_json() == {
        "turn_id": 7,
        "outcome": None,
        "heard": "",
        "answered": "",
        "error": "",
        "commit_reason": "",
        "held_for": "",
        "llm_calls": 0,
        "speculated": False,
        "dropped": 0,
        "apologized": False,
        "tools": [],
        "barge_in_ms": None,
        "false_interruptions": 0,
        "audio_late_ms": 0.0,
        "trace_id": "",
        "slowed_by": None,
        "why": "",
        "v2v_ms": None,
        "stages": [],
        "spans": [{"name": "asr", "start_ms": 1.0, "end_ms": 2.5}],
    }


def test_a_stage_after_the_first_sound_is_not_of_the_critical_path() -> None:
    turn = Turn(1, speech_end_ns=0, first_audio_ns=10)
    turn.stage("llm", 20)
    assert turn.stages == []


def speculative() -> LLMFullResponseStartFrame:
    frame = LLMFullResponseStartFrame()
    mark_speculative(frame, LLMContextFrame(LLMContext(), speculation=True))
    return frame


async def test_an_answer_begun_before_the_turn_was_over_has_its_true_times_and_empty_stages(told: Told) -> None:
    await told.at(1060, VADUserStartedSpeakingFrame(start_secs=0.06), UserStartedSpeakingFrame())
    await told.at(2100, paused(2000))
    await told.at(2110, speculative())
    await told.at(2200, VADUserStoppedSpeakingFrame(stop_secs=0.2))
    await told.at(2210, LLMTextFrame("Hi."), LLMFullResponseEndFrame())
    await told.at(2240, sound(20))
    await told.at(2250, verdict(2000), commit(2000))
    await told.at(2300, final("Hello."), UserStoppedSpeakingFrame())
    await told.at(2305, BotStartedSpeakingFrame())
    await told.at(2900, remembered("Hi."), BotStoppedSpeakingFrame())
    (turn,) = told.turns
    assert (turn.outcome, turn.answered, turn.v2v_ms) == ("answered", "Hi.", 305)
    assert (turn.speculated, turn.dropped, turn.llm_calls) == (True, 0, 1)
    assert tiles(turn) and {name: ms for name, ms in turn.stage_ms.items() if ms} == {
        "pause": 200,
        "verdict": 50,
        "transcript": 50,
        "transport": 5,
    }
    assert span(turn, "llm first token") == (110, 210)
    assert span(turn, "tts first audio") == (220, 240)


async def test_a_withdrawn_answer_is_counted_and_nothing_else_of_it(told: Told) -> None:
    await told.at(1060, VADUserStartedSpeakingFrame(start_secs=0.06), UserStartedSpeakingFrame())
    await told.at(1600, paused(1500))
    await told.at(1610, speculative(), LLMTextFrame("Yes?"), sound(5))
    await told.at(1700, EagerEndOfTurnCancelFrame())
    await told.at(1701, LLMTextFrame("No."), LLMFullResponseEndFrame())  # on its way when it was withdrawn
    await told.at(2100, paused(2000))
    await told.at(2200, VADUserStoppedSpeakingFrame(stop_secs=0.2))
    await told.at(2250, commit(2000))
    await told.at(2300, final("Hello."), UserStoppedSpeakingFrame())
    await told.answers(2310)
    (turn,) = told.turns
    assert (turn.outcome, turn.answered, turn.v2v_ms) == ("answered", "Hi.", 610)
    assert (turn.speculated, turn.dropped, turn.llm_calls) == (False, 1, 2)
    assert turn.stage_ms["llm"] == 160 and tiles(turn)
