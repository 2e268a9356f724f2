import asyncio

import pytest
from own_bot import NOWHERE, Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.services.llm_service import FunctionCallParams
from pipecat.utils.text.base_text_aggregator import TextType
from test_strategies import Mark, remembering, text

from antiphon_orchestrator.services import AntiphonLLMService, AntiphonTTSService, SpeculativeLLMService
from antiphon_orchestrator.services.frames import (
    EmptyUtteranceFrame,
    PauseTextFrame,
    SpeechPausedFrame,
    SpeechResumedFrame,
    TurnVerdictFrame,
)
from antiphon_orchestrator.services.speculation import mark_speculative
from antiphon_orchestrator.turns.reply_gate import ReplyGate
from antiphon_orchestrator.turns.speculation import Budget
from antiphon_orchestrator.turns.strategies import committed_turns


def answering() -> LLMFullResponseStartFrame:
    frame = LLMFullResponseStartFrame()
    mark_speculative(frame, LLMContextFrame(LLMContext(), speculation=True))
    return frame


def sound() -> TTSAudioRawFrame:
    return TTSAudioRawFrame(bytes(960), 24_000, 1)


async def passes(at: Bot, *frames: Frame) -> None:
    """Sends frames and returns when the last of them has been dealt with, as far as the pipeline's end."""
    marks = len(at.down.of(Mark))
    await at.send(*frames, Mark())
    await at.down.until(Mark, marks + 1)


async def pauses(at: Bot, sample: int, words: str, *, complete: bool | None = True) -> None:
    verdict = [] if complete is None else [TurnVerdictFrame(sample=sample, complete=complete)]
    await passes(at, SpeechPausedFrame(sample=sample), *verdict, PauseTextFrame(sample=sample, text=words))


# The budget.


@pytest.mark.parametrize("calls_per_turn", [1.25, 1.75, 2.0])
def test_calls_stay_within_the_budget_when_all_that_can_be_wasted_is(calls_per_turn: float) -> None:
    budget, calls, turns = Budget(calls_per_turn), 0, 400
    for _ in range(turns):
        while budget.spend():
            calls += 1
        calls += 1
        budget.turn_over()
    assert calls_per_turn - 0.02 <= calls / turns <= calls_per_turn + 1 / turns


def test_answers_that_are_kept_cost_nothing() -> None:
    budget = Budget(1.25)
    for _ in range(100):
        assert budget.spend()
        budget.turn_over()
        budget.refund()


def test_a_budget_of_one_call_allows_none_to_be_wasted() -> None:
    budget = Budget(1.0)
    budget.turn_over()
    assert not budget.spend()


# The stop strategy.


async def test_a_pause_whose_text_is_the_turns_is_answered_once_and_kept() -> None:
    async with remembering(Budget(1.75)) as (at, context):
        await at.send(VADUserStartedSpeakingFrame())
        await pauses(at, 100, "what is the capital of italy")
        asked = await at.down.until(LLMContextFrame)
        assert asked.speculation and asked.context is not context
        assert asked.context.get_messages()[-1]["content"] == "what is the capital of italy"
        assert context.get_messages() == []
        await passes(at, VADUserStoppedSpeakingFrame(), text("What is the capital of Italy?"))
        await at.down.until(UserStoppedSpeakingFrame)
        assert len(at.down.of(LLMContextFrame)) == 1
        assert at.down.of(EagerEndOfTurnCancelFrame) == []
        assert context.get_messages() == [{"role": "user", "content": "What is the capital of Italy?"}]


@pytest.mark.parametrize(
    "more",
    [
        [VADUserStoppedSpeakingFrame(), text("What is the capital of Italy and of France?")],
        [SpeechResumedFrame(), VADUserStoppedSpeakingFrame(), text("What is the capital of Italy?")],
        [VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), text("What is the capital of Italy?")],
        [SpeechPausedFrame(sample=200), VADUserStoppedSpeakingFrame(), text("What is the capital of Italy?")],
    ],
    ids=["other text", "speech goes on", "speech begins again", "a later pause"],
)
async def test_an_answer_that_is_not_to_the_turn_is_withdrawn_and_the_turn_asked_for_anew(more: list[Frame]) -> None:
    async with remembering(Budget(1.75)) as (at, context):
        await at.send(VADUserStartedSpeakingFrame())
        await pauses(at, 100, "What is the capital of Italy?")
        for frame in more:  # one by one: speech edges overtake texts
            await passes(at, frame)
        await at.down.until(LLMContextFrame, 2)
        assert [frame.speculation for frame in at.down.of(LLMContextFrame)] == [True, False]
        ends = [f for f in at.down.frames if isinstance(f, EagerEndOfTurnCancelFrame | UserStoppedSpeakingFrame)]
        assert [type(frame) for frame in ends] == [EagerEndOfTurnCancelFrame, UserStoppedSpeakingFrame]
        assert [message["role"] for message in context.get_messages()] == ["user"]


async def test_a_broken_answer_is_withdrawn() -> None:
    async with dialled("llm", NOWHERE) as replicas, remembering(Budget(1.75)) as (at, _):
        await at.send(VADUserStartedSpeakingFrame())
        await pauses(at, 100, "Hello there.")
        await at.send_up(ErrorFrame(error="gone", processor=AntiphonLLMService(replicas=replicas)))
        await at.down.until(EagerEndOfTurnCancelFrame)
        await passes(at, TurnVerdictFrame(sample=100, complete=True))  # no reason to try again
        assert len(at.down.of(LLMContextFrame)) == 1
        await passes(at, VADUserStoppedSpeakingFrame(), text("Hello there."))
        await at.down.until(LLMContextFrame, 2)
        assert not at.down.of(LLMContextFrame)[-1].speculation


@pytest.mark.parametrize(
    ("words", "complete"),
    [("I would like a table for", None), ("", None), ("What is the capital of Italy?", False)],
    ids=["asks for more", "no words", "verdict says more will come"],
)
async def test_what_is_not_likely_the_end_is_not_answered(words: str, complete: bool | None) -> None:
    async with remembering(Budget(1.75)) as (at, _):
        await at.send(VADUserStartedSpeakingFrame())
        await pauses(at, 100, words, complete=complete)
        assert at.down.of(LLMContextFrame) == []


async def test_what_an_earlier_commit_had_heard_belongs_to_the_answered_text() -> None:
    async with remembering(Budget(1.75)) as (at, context):
        await at.send(VADUserStartedSpeakingFrame())
        await passes(at, text("I would", final=False))
        await pauses(at, 100, "like tea.")
        asked = await at.down.until(LLMContextFrame)
        assert asked.context.get_messages()[-1]["content"] == "I would like tea."
        await passes(at, VADUserStoppedSpeakingFrame(), text("like tea."))
        await at.down.until(UserStoppedSpeakingFrame)
        assert len(at.down.of(LLMContextFrame)) == 1
        assert context.get_messages() == [{"role": "user", "content": "I would like tea."}]


async def test_noise_after_all_withdraws_the_answer_and_asks_no_model() -> None:
    async with remembering(Budget(1.75)) as (at, context):
        await at.send(VADUserStartedSpeakingFrame())
        await pauses(at, 100, "Hello.")
        await passes(at, VADUserStoppedSpeakingFrame(), EmptyUtteranceFrame())
        await at.down.until(UserStoppedSpeakingFrame)
        assert len(at.down.of(LLMContextFrame)) == 1 and len(at.down.of(EagerEndOfTurnCancelFrame)) == 1
        assert context.get_messages() == []


# The gate.


async def test_a_held_reply_comes_out_whole_and_in_order_when_its_turn_is_over() -> None:
    async with bot(ReplyGate()) as at:
        reply = [answering(), LLMTextFrame("Rome."), sound(), sound(), LLMFullResponseEndFrame()]
        await at.send(UserStartedSpeakingFrame(), *reply)
        await at.send(VADUserStoppedSpeakingFrame())  # other events pass
        await at.down.until(VADUserStoppedSpeakingFrame)
        assert not [frame for frame in at.down.frames if frame in reply]
        await at.send(UserStoppedSpeakingFrame())
        await at.down.until(LLMFullResponseEndFrame)
        kinds = [frame for frame in at.down.frames if frame in reply or isinstance(frame, UserStoppedSpeakingFrame)]
        assert isinstance(kinds[0], UserStoppedSpeakingFrame) and kinds[1:] == reply


@pytest.mark.parametrize("end", [EagerEndOfTurnCancelFrame, InterruptionFrame])
async def test_a_withdrawn_reply_never_comes_out_and_the_next_one_does(end: type[Frame]) -> None:
    gate = ReplyGate()
    async with bot(gate) as at:
        reply = [answering(), LLMTextFrame("Rome."), sound()]
        await at.send(UserStartedSpeakingFrame())
        await at.down.until(UserStartedSpeakingFrame)
        await at.send(*reply)
        await settles(lambda: gate._held and len(gate._held.frames) == 3)
        await at.send(end(), UserStoppedSpeakingFrame())
        await at.down.until(UserStoppedSpeakingFrame)
        await at.send(LLMFullResponseStartFrame(), LLMTextFrame("Paris."))
        await passes(at)
        assert [frame.text for frame in at.down.of(LLMTextFrame)] == ["Paris."]


async def test_a_withdrawal_overtakes_the_reply_that_it_drops() -> None:
    gate = ReplyGate()
    async with bot(gate) as at:
        for number in range(1, 101):
            await passes(at, UserStartedSpeakingFrame())
            for frame in (answering(), LLMTextFrame("Rome."), EagerEndOfTurnCancelFrame(), UserStoppedSpeakingFrame()):
                await gate.queue_frame(frame)
            await at.down.until(UserStoppedSpeakingFrame, number)
        await passes(at)
        assert at.down.of(LLMTextFrame) == []


async def test_a_reply_that_comes_after_its_turn_is_over_is_not_held() -> None:
    async with bot(ReplyGate()) as at:
        await at.send(UserStartedSpeakingFrame(), UserStoppedSpeakingFrame())
        await at.down.until(UserStoppedSpeakingFrame)
        await passes(at, answering(), sound())
        assert len(at.down.of(TTSAudioRawFrame)) == 1


async def test_the_words_of_a_held_reply_are_late_by_as_long_as_its_sound_was_held() -> None:
    def word(pts: int) -> TTSTextFrame:
        frame = TTSTextFrame("Rome", TextType.WORD)
        frame.pts = pts
        return frame

    gate = ReplyGate()
    async with bot(gate) as at:
        await at.send(UserStartedSpeakingFrame(), answering(), word(1_000), sound())
        await settles(lambda: gate._held and len(gate._held.frames) == 3)
        await at.send(UserStoppedSpeakingFrame())
        await at.down.until(TTSAudioRawFrame)
        await at.send(word(2_000))
        await at.down.until(TTSTextFrame, 2)
        first, second = (frame.pts or 0 for frame in at.down.of(TTSTextFrame))
        assert second - first == 1_000 and first > 1_000
        await at.send(LLMFullResponseStartFrame(), word(3_000))
        await at.down.until(TTSTextFrame, 3)
        assert at.down.of(TTSTextFrame)[-1].pts == 3_000


# The services.


async def test_two_hundred_withdrawn_answers_leave_no_slot_and_no_word() -> None:
    async with (
        stub("llm", slots=1) as llm,
        stub("tts", slots=1) as tts,
        dialled("llm", llm.target) as models,
        dialled("tts", tts.target) as voices,
        bot(SpeculativeLLMService(replicas=models), AntiphonTTSService(replicas=voices), ReplyGate()) as at,
    ):
        for number in range(200):
            await at.send(UserStartedSpeakingFrame())
            await at.down.until(UserStartedSpeakingFrame, number + 1)
            context = LLMContext([{"role": "user", "content": f"stale {number}"}])
            await at.send(LLMContextFrame(context, speculation=True))
            await asyncio.sleep(number % 8 / 1000)  # before it is asked for, while it is written, when it is there
            await at.send(EagerEndOfTurnCancelFrame())
            await at.down.until(EagerEndOfTurnCancelFrame, number + 1)
        await settles(lambda: not (models.open_streams or voices.open_streams))
        await settles(lambda: not llm.sample("antiphon_llm_slots_used") and not tts.sample("antiphon_tts_slots_used"))
        await at.send(UserStoppedSpeakingFrame())
        await at.send(LLMContextFrame(LLMContext([{"role": "user", "content": "fresh"}])))
        await settles(lambda: [frame for frame in at.down.of(TTSTextFrame) if "fresh" in frame.text])
        assert not [frame for frame in at.down.of(TTSTextFrame) if "stale" in frame.text]


async def test_a_withdrawal_leaves_a_reply_that_counts_alone() -> None:
    async with (
        stub("tts") as tts,
        dialled("tts", tts.target) as voices,
        bot(AntiphonTTSService(replicas=voices), ReplyGate()) as at,
    ):
        await at.send(LLMFullResponseStartFrame(), LLMTextFrame("One two three. "), LLMTextFrame("Four five six."))
        await at.down.until(TTSAudioRawFrame)
        await at.send(EagerEndOfTurnCancelFrame())
        await at.down.until(EagerEndOfTurnCancelFrame)
        await at.send(LLMFullResponseEndFrame())
        await at.down.until(LLMFullResponseEndFrame)
        assert tts.sample("antiphon_rpc_seconds_count", method="Synthesize", outcome="cancelled") in (None, 0)
        assert " ".join(frame.text for frame in at.down.of(TTSTextFrame)) == "One two three. Four five six."


async def test_a_tool_runs_only_once_its_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "tool:brew {}|Your tea is ready.")
    brewed: list[bool] = []

    async def brew(params: FunctionCallParams) -> None:
        """Make tea."""
        brewed.append(True)
        await params.result_callback({"done": True})

    context = LLMContext([], tools=[brew])  # type: ignore[arg-type]
    params = LLMUserAggregatorParams(user_turn_strategies=committed_turns(Budget(1.75)), empty_user_turn=None)
    memory = LLMContextAggregatorPair(context, user_params=params)
    async with stub("llm") as served, dialled("llm", served.target) as replicas:
        model = SpeculativeLLMService(replicas=replicas, function_call_timeout_secs=5.0)
        async with bot(memory.user(), model, ReplyGate(), memory.assistant()) as at:
            await at.send(VADUserStartedSpeakingFrame())
            await at.send(SpeechPausedFrame(sample=100), PauseTextFrame(sample=100, text="Tea, please."))
            await at.down.until(EagerEndOfTurnCancelFrame)
            assert brewed == [] and context.get_messages() == []
            await at.send(VADUserStoppedSpeakingFrame())
            await at.down.until(VADUserStoppedSpeakingFrame)
            await at.send(text("Tea, please."))
            await settles(lambda: context.get_messages()[-1:] and context.get_messages()[-1]["role"] == "assistant")
    assert brewed == [True]
    assert sum(message["role"] == "user" for message in context.get_messages()) == 1
