import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    VADUserStartedSpeakingFrame,
)
from told import (
    Told,
    commit,
    final,
    paused,
    remembered,
    sound,
    tiles,
    verdict,
)

from antiphon_orchestrator.services.frames import EmptyUtteranceFrame


@pytest.fixture
def told() -> Told:
    return Told()


async def test_noise_is_no_turn_and_takes_no_number(told: Told) -> None:
    await told.speaks(1000, 1200)
    await told.at(1450, commit(1200))
    await told.at(1500, EmptyUtteranceFrame())
    await told.asks(2000, 3000)
    await told.answers(3310)
    assert told.empties == 1
    assert [(turn.turn_id, turn.outcome) for turn in told.turns] == [(1, "answered")]


async def test_an_utterance_whose_text_could_not_be_had_is_a_failed_turn(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.at(2250, commit(2000))
    await told.at(6250, EmptyUtteranceFrame(error="asr: gone"))
    assert [(turn.outcome, turn.error, turn.v2v_ms) for turn in told.turns] == [("failed", "asr: gone", None)]
    assert told.empties == 0


async def test_noise_over_an_answer_interrupts_it(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("One two three."))
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.at(3000, VADUserStartedSpeakingFrame())
    await told.at(3010, remembered("One"), BotStoppedSpeakingFrame())
    await told.at(3500, commit(3300), EmptyUtteranceFrame())
    await told.asks(5000, 6000)
    await told.answers(6310)
    assert [(turn.turn_id, turn.outcome) for turn in told.turns] == [(1, "interrupted"), (2, "answered")]


async def test_pauses_within_a_turn_do_not_end_it_and_the_last_one_counts(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.speaks(2500, 3000)
    await told.at(3250, verdict(3000), commit(3000))
    await told.at(3300, final("Hello, are you there?"))
    await told.answers(3310)
    (turn,) = told.turns
    assert (turn.turn_id, turn.outcome, turn.v2v_ms) == (1, "answered", 610)
    assert [name["name"] for name in turn.to_json()["spans"]].count("speech") == 2
    assert tiles(turn)


async def test_speech_that_goes_on_before_its_text_has_come_is_the_same_turn(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.at(2250, commit(2000))
    await told.at(2280, VADUserStartedSpeakingFrame(start_secs=0.02))
    await told.at(2300, TranscriptionFrame("I would", "", ""))
    await told.at(3100, paused(3000))
    await told.at(3250, commit(3000))
    await told.at(3300, final("like tea."))
    await told.answers(3310)
    (turn,) = told.turns
    assert (turn.turn_id, turn.outcome, turn.heard, turn.v2v_ms) == (1, "answered", "I would like tea.", 610)
    assert tiles(turn)


async def test_a_turn_whose_first_part_has_text_is_not_lost_to_the_noise_after_it(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.at(2250, commit(2000))
    await told.at(2280, VADUserStartedSpeakingFrame(start_secs=0.02))
    await told.at(2300, TranscriptionFrame("Tea.", "", ""))
    await told.at(2600, paused(2500))
    await told.at(2750, commit(2500))
    await told.at(2800, EmptyUtteranceFrame())
    await told.answers(2810)
    assert [(turn.heard, turn.outcome) for turn in told.turns] == [("Tea.", "answered")]
    assert tiles(told.turns[0])


async def test_who_speaks_again_after_waiting_for_long_got_no_answer(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.at(2250, commit(2000))
    await told.asks(5000, 6000, "Hello?")
    await told.answers(6310)
    assert [(turn.turn_id, turn.outcome) for turn in told.turns] == [(1, "unanswered"), (2, "answered")]


async def test_each_turn_of_a_session_has_the_next_number(told: Told) -> None:
    for begin in (0, 10_000, 20_000):
        await told.asks(begin + 1000, begin + 2000)
        await told.answers(begin + 2310)
    assert [turn.turn_id for turn in told.turns] == [1, 2, 3]
    assert [turn.v2v_ms for turn in told.turns] == [610] * 3


async def test_the_greeting_is_no_turn_nor_the_answer_of_one(told: Told) -> None:
    await told.at(100, sound(80), BotStartedSpeakingFrame())
    await told.at(1500, VADUserStartedSpeakingFrame(), UserStartedSpeakingFrame())
    await told.at(1510, remembered("Good"), BotStoppedSpeakingFrame())
    await told.at(2100, paused(2000))
    await told.at(2250, commit(2000))
    await told.at(2300, final("Hello."))
    await told.answers(2310)
    assert [(turn.turn_id, turn.outcome, turn.answered) for turn in told.turns] == [(1, "answered", "Hi.")]


async def test_a_session_that_ends_mid_answer_interrupts_it(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("One two three."))
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.observer.finish()
    assert [turn.outcome for turn in told.turns] == ["interrupted"]


async def test_a_session_that_ends_before_an_answer_leaves_the_turn_unanswered(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.observer.finish()
    await told.observer.finish()
    assert [turn.outcome for turn in told.turns] == ["unanswered"]


async def test_a_session_that_ends_when_the_answer_has_been_said_leaves_it_answered(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("Hi."), LLMFullResponseEndFrame())
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.at(3000, remembered("Hi."))
    await told.observer.finish()
    assert [turn.outcome for turn in told.turns] == ["answered"]


async def test_a_session_that_ends_while_an_interrupted_answer_is_still_awaited_tells_both_turns(told: Told) -> None:
    await told.asks(1000, 2000)
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("One two three."))
    await told.at(2590, sound(80), BotStartedSpeakingFrame())
    await told.at(3000, VADUserStartedSpeakingFrame())
    await told.observer.finish()
    assert [turn.outcome for turn in told.turns] == ["interrupted"]


async def test_speech_that_was_not_committed_is_no_turn(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.observer.finish()
    assert told.turns == []


async def test_the_copy_of_a_broadcast_frame_that_goes_the_other_way_is_not_counted_twice(told: Told) -> None:
    await told.asks(1000, 2000)
    one, other = LLMFullResponseStartFrame(), LLMFullResponseStartFrame()
    one.broadcast_sibling_id, other.broadcast_sibling_id = other.id, one.id
    await told.at(2310, one, other, LLMFullResponseEndFrame())
    assert told.turns[0].llm_calls == 1


async def test_a_stage_that_should_have_begun_later_is_empty_rather_than_negative(told: Told) -> None:
    await told.speaks(1000, 2000)
    await told.at(2250, commit(2000))
    await told.at(2300, final("Hello."))
    await told.at(2310, LLMFullResponseStartFrame())
    await told.at(2460, LLMTextFrame("Hi."))
    await told.at(2500, sound(300))  # the service had begun with what it was given before the model's first word
    await told.at(2520, BotStartedSpeakingFrame())
    await told.observer.finish()
    (turn,) = told.turns
    assert turn.stage_ms["clause"] == 0 and turn.stage_ms["tts"] == 40
    assert tiles(turn)
