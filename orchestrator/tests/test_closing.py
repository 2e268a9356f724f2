"""The last words of a call, and its end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from own_bot import NOWHERE, Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from antiphon_orchestrator.manners.closing import Closing, LastWords, LastWordsFrame, after_call_length
from antiphon_orchestrator.manners.phrases import Line, Occasion, PhraseBook
from antiphon_orchestrator.turns.playout import Playout
from antiphon_orchestrator.turns.reply_gate import ReplyGate

LINES = {Occasion.TIME_UP: Line("Time is up.")}


@asynccontextmanager
async def closing(
    lines: Mapping[Occasion, Line] = LINES, *before: FrameProcessor
) -> AsyncIterator[tuple[Bot, Playout]]:
    playout = Playout()
    async with stub("tts") as served, dialled("tts", served.target) as voices:
        last = LastWords(PhraseBook(voices), lines, playout)
        async with bot(*before, last, ReplyGate(playout)) as at:
            yield at, playout


def words(at: Bot) -> list[str]:
    return [frame.text for frame in at.down.of(TTSTextFrame)]


async def test_the_last_words_are_said_to_their_end_whoever_speaks() -> None:
    async with closing() as (at, playout):
        playout.pause()
        await at.send(UserStartedSpeakingFrame(), LastWordsFrame())
        assert (await at.down.until(InterruptionFrame)) is not None  # what was being said is over
        assert not playout.paused
        for stop in (playout.pause, playout.drop):
            stop()
            assert not playout.paused and await playout.filter(b"\1\1") is not None
        await at.send(InterruptionFrame(), UserStartedSpeakingFrame(), EndFrame())
        await settles(at.running.done)
        assert words(at) == ["Time", "is", "up."]
        assert len(at.down.of(InterruptionFrame)) == 1 and len(at.down.of(UserStartedSpeakingFrame)) == 2


async def test_nothing_is_said_after_the_last_words() -> None:
    async with closing() as (at, _):
        await at.send(LastWordsFrame())
        await at.down.until(TTSAudioRawFrame)
        text = TTSTextFrame("And", "word")
        await at.send(LLMFullResponseStartFrame(), TTSStartedFrame(), text, LastWordsFrame(), EndFrame())
        await settles(at.running.done)
        assert words(at) == ["Time", "is", "up."] and not at.down.of(LLMFullResponseStartFrame)


async def test_an_agent_without_the_phrase_says_nothing_and_the_call_ends() -> None:
    async with closing({}) as (at, _):
        await Closing(at.worker, at.pipeline).end_with(Occasion.TIME_UP)
        await settles(at.running.done)
        assert not words(at)


async def test_a_voice_that_is_down_does_not_keep_the_call() -> None:
    async with dialled("tts", NOWHERE) as voices, bot(LastWords(PhraseBook(voices), LINES, Playout())) as at:
        await Closing(at.worker, at.pipeline).end_with(Occasion.TIME_UP)
        await settles(at.running.done)


class Stuck(FrameProcessor):
    """A service that never comes to its end."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame):
            await asyncio.Event().wait()
        await self.push_frame(frame, direction)


@pytest.mark.parametrize("way", ["end", "end_with"])
async def test_a_pipeline_that_does_not_end_is_cancelled(way: str) -> None:
    async with closing(LINES, Stuck()) as (at, _):
        end = Closing(at.worker, at.pipeline, 0.2)
        enforcing = asyncio.create_task(end.enforce())
        await (end.end() if way == "end" else end.end_with(Occasion.TIME_UP))
        await settles(at.running.done)
        await enforcing


async def test_the_time_of_a_call_is_up_once_whatever_becomes_of_the_phrase() -> None:
    ended = 0

    async def time_up() -> None:
        nonlocal ended
        ended += 1

    async def fails() -> None:
        raise RuntimeError("no voice")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        for ready in (fails, hangs):
            await after_call_length(0.02, time_up, ready)
    assert ended == 2
