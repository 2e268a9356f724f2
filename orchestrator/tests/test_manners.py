"""Phrases that an agent says without being asked."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import pytest
from own_bot import IMPATIENT, NOWHERE, Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EagerEndOfTurnCancelFrame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

from antiphon_orchestrator.agents import Agent, Phrases
from antiphon_orchestrator.manners import spokesman
from antiphon_orchestrator.manners.manners import MOST_FAILURES, MOST_PROMPTS, Manners
from antiphon_orchestrator.manners.phrases import DEFAULTS, Line, Occasion, PhraseBook, lines_of
from antiphon_orchestrator.manners.spokesman import Patience, Spokesman
from antiphon_orchestrator.services.frames import AnswerOverdueFrame, AnswerOwedFrame
from antiphon_orchestrator.turns.reply_gate import ReplyGate
from antiphon_runtime.testing import manual_timers
from antiphon_tts.backends.stub import word_ms

LINES = {Occasion.APOLOGY: Line("So sorry."), Occasion.FILLER: Line("Moment.")}
NEVER = Patience(60, 60)
# Fired by the test.
FILLER_S, ANSWER_S = 1500, 2500
BY_HAND = Patience(FILLER_S, ANSWER_S)


# When.


class Told:
    def __init__(self) -> None:
        self.said: list[Occasion] = []
        self.hung_up = 0
        self.manners = Manners(self._say, self._leave)

    async def _say(self, occasion: Occasion) -> None:
        self.said.append(occasion)

    async def _leave(self, last_words: Occasion) -> None:
        self.said.append(last_words)
        self.hung_up += 1


async def test_a_caller_who_waits_in_vain_gets_an_apology_and_nobody_else() -> None:
    told = Told()
    await told.manners.missed()
    told.manners.answered()
    told.manners.caller_spoke()
    assert told.said == [Occasion.APOLOGY]


async def test_after_failures_in_a_row_the_agent_gives_up_and_an_answer_begins_the_count_again() -> None:
    told = Told()
    for _ in range(MOST_FAILURES - 1):
        await told.manners.missed()
    told.manners.answered()
    for _ in range(MOST_FAILURES - 1):
        await told.manners.missed()
    assert told.hung_up == 0
    await told.manners.missed()
    assert told.said[-1] is Occasion.FAREWELL and told.hung_up == 1


async def test_a_silent_caller_is_asked_for_and_then_taken_for_gone() -> None:
    told = Told()
    await told.manners.idle()
    told.manners.caller_spoke()
    for _ in range(MOST_PROMPTS + 1):
        await told.manners.idle()
    assert told.said == [Occasion.PROMPT] * (MOST_PROMPTS + 1) + [Occasion.GOODBYE] and told.hung_up == 1


# What.


def test_an_agent_says_its_own_phrases_else_its_languages_and_never_an_empty_one() -> None:
    agent = Agent(system_prompt="x", language="de-DE", voice="v", phrases=Phrases(apology="", filler="Augenblick."))
    lines = lines_of(agent)
    assert Occasion.APOLOGY not in lines and lines[Occasion.FILLER] == Line("Augenblick.", "v", "de-DE")
    assert lines[Occasion.PROMPT].text == DEFAULTS["de"][Occasion.PROMPT]
    assert lines_of(Agent(system_prompt="x", language="xx"))[Occasion.PROMPT].text == DEFAULTS["en"][Occasion.PROMPT]


def test_every_language_has_every_phrase() -> None:
    assert all(set(phrases) == set(Occasion) for phrases in DEFAULTS.values())


async def test_a_phrase_is_spoken_once_and_said_without_the_service() -> None:
    async with stub("tts") as served, dialled("tts", served.target) as voices:
        book = PhraseBook(voices)
        await asyncio.gather(*(book.learn(LINES.values()) for _ in range(3)))
        assert served.sample("antiphon_rpc_seconds_count", method="Synthesize", outcome="ok") == len(LINES)
    spoken = book.get(LINES[Occasion.APOLOGY])
    assert spoken and len(spoken.pcm) == 2 * 24 * (word_ms("So") + word_ms("sorry."))
    assert spoken.words == (("So", 0.0), ("sorry.", word_ms("So")))


async def test_a_phrase_that_could_not_be_spoken_is_tried_again() -> None:
    async with stub("tts") as served:
        target = served.target
    async with dialled("tts", target, policy=IMPATIENT) as voices:
        book = PhraseBook(voices)
        await book.learn(LINES.values())
        assert book.get(LINES[Occasion.APOLOGY]) is None
        async with stub("tts", bind=target), asyncio.timeout(60):
            while not all(book.get(line) for line in LINES.values()):
                await book.learn(LINES.values())


# How.


async def never(_last_words: Occasion) -> None:
    raise AssertionError("the agent hung up")


@asynccontextmanager
async def speaking(patience: Patience = NEVER, lines: Mapping[Occasion, Line] = LINES) -> AsyncIterator[Bot]:
    async with (
        stub("tts") as served,
        dialled("tts", served.target) as voices,
        bot(Spokesman(PhraseBook(voices), lines, patience, never), ReplyGate()) as at,
    ):
        yield at


def words(at: Bot) -> list[str]:
    return [frame.text for frame in at.down.of(TTSTextFrame)]


def lost() -> AnswerOwedFrame:
    """Return an answer that cannot come, for which the agent apologises."""
    return AnswerOwedFrame(error="the model is lost")


def call(number: int) -> FunctionCallInProgressFrame:
    return FunctionCallInProgressFrame(function_name="brew", tool_call_id=str(number), arguments={})


def result(number: int) -> FunctionCallResultFrame:
    return FunctionCallResultFrame(function_name="brew", tool_call_id=str(number), arguments={}, result="tea")


async def test_a_phrase_is_said_word_for_word_also_after_a_withdrawn_answer() -> None:
    async with speaking() as at:
        await at.send(EagerEndOfTurnCancelFrame(), lost())
        await at.down.until(TTSTextFrame, 2)
        assert words(at) == ["So", "sorry."] and len(at.down.of(TTSAudioRawFrame)) == 1


async def test_it_does_not_speak_over_the_caller_nor_says_what_it_has_not_been_given() -> None:
    async with stub("tts") as served, dialled("tts", served.target) as voices:
        book = PhraseBook(voices)
        await book.learn(LINES.values())
    async with bot(Spokesman(book, LINES, Patience(0.1, 60), never)) as at:
        await at.send(UserStartedSpeakingFrame(), lost(), UserStoppedSpeakingFrame())
        await at.down.until(UserStoppedSpeakingFrame)
        await at.send(call(1))
        await at.down.until(TTSTextFrame)
        assert words(at) == ["Moment."]
    only_filler = {Occasion.FILLER: LINES[Occasion.FILLER]}
    async with bot(Spokesman(book, only_filler, Patience(0.1, 60), never)) as at:
        await at.send(lost(), call(1))
        await at.down.until(TTSTextFrame)
        assert words(at) == ["Moment."]


async def test_a_phrase_that_has_to_be_learned_first_holds_nothing_up_and_is_said_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Learning(PhraseBook):
        """Never comes to know a phrase."""

        async def learn(self, _: Iterable[Line]) -> None:
            await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(spokesman, "LEARN_S", 600.0)
        async with dialled("tts", NOWHERE) as voices, bot(Spokesman(Learning(voices), LINES, NEVER, never)) as at:
            await at.send(lost(), InterruptionFrame())
            await at.down.until(InterruptionFrame)
    async with speaking() as at:
        await at.send(lost())
        await at.worker.stop_when_done()
        await settles(at.running.done)
        assert words(at) == ["So", "sorry."]


async def test_a_slow_tool_gets_one_filler_and_a_fast_one_none() -> None:
    with manual_timers() as timers:
        async with speaking(BY_HAND) as at:
            await at.send(call(1))
            await settles(lambda: timers.lengths_s == [FILLER_S])
            await at.send(result(1))
            await at.down.until(FunctionCallResultFrame)
            assert not timers.running and not words(at)
            await at.send(call(2), call(3))
            await at.down.until(FunctionCallInProgressFrame, 3)
            await settles(lambda: timers.running)
            assert timers.lengths_s == [FILLER_S]
            timers.fire()
            await at.down.until(TTSTextFrame)
            await at.send(result(2), result(3))
            await at.down.until(FunctionCallResultFrame, 3)
            assert not timers.running and words(at) == ["Moment."]


async def test_a_filler_ends_with_the_tool_or_an_interruption() -> None:
    with manual_timers() as timers:
        async with speaking(BY_HAND) as at:
            await at.send(call(1), call(2), result(1))
            await at.down.until(FunctionCallResultFrame)
            await settles(lambda: timers.lengths_s == [FILLER_S])
            await at.send(result(2))
            await at.down.until(FunctionCallResultFrame, 2)
            assert not timers.running
            await at.send(call(3))
            await settles(lambda: timers.lengths_s == [FILLER_S])
            await at.send(InterruptionFrame())
            await at.down.until(InterruptionFrame)
            assert not timers.running and not words(at)


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    async with speaking(Patience(600, 0.5)) as at:
        await at.send(AnswerOwedFrame())
        overdue = await at.down.until(AnswerOverdueFrame)
        assert overdue.reason == "no answer within 0.5 s"
        await at.down.until(InterruptionFrame)


@pytest.mark.parametrize("sign", ["heard", "interrupted"])
async def test_an_answer_that_is_heard_or_interrupted_is_not_given_up(sign: str) -> None:
    with manual_timers() as timers:
        async with speaking(BY_HAND) as at:
            await at.send(AnswerOwedFrame())
            await settles(lambda: timers.lengths_s == [ANSWER_S])
            if sign == "heard":
                await at.send_up(BotStartedSpeakingFrame())
                await at.up.until(BotStartedSpeakingFrame)
            else:
                await at.send(InterruptionFrame())
                await at.down.until(InterruptionFrame)
            assert not timers.running and not at.down.of(AnswerOverdueFrame)


async def test_an_answer_that_stalls_after_its_first_sound_is_given_up_too() -> None:
    with manual_timers() as timers:
        async with speaking(BY_HAND) as at:
            await at.send(AnswerOwedFrame(), LLMFullResponseStartFrame(), TTSAudioRawFrame(bytes(960), 24_000, 1))
            await at.down.until(TTSAudioRawFrame)
            await at.send_up(BotStartedSpeakingFrame())
            await at.up.until(BotStartedSpeakingFrame)
            assert not timers.running
            await at.send_up(BotStoppedSpeakingFrame())
            await settles(lambda: timers.lengths_s == [ANSWER_S])
            timers.fire()
            await at.down.until(AnswerOverdueFrame)
            await settles(lambda: words(at) == ["So", "sorry."])


async def test_a_tools_time_is_not_the_answers() -> None:
    with manual_timers() as timers:
        async with speaking(BY_HAND) as at:
            await at.send(AnswerOwedFrame())
            await settles(lambda: timers.lengths_s == [ANSWER_S])
            await at.send(call(1))
            await settles(lambda: timers.lengths_s == [FILLER_S])
            assert not at.down.of(AnswerOverdueFrame)
            await at.send(result(1))
            await settles(lambda: timers.lengths_s == [ANSWER_S])
            timers.fire()
            await at.down.until(AnswerOverdueFrame)
