"""A reply of segments that come in several stretches: places, and what a listener in real time hears."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from antiphon_tts.backends import Said, Speech, Voice
from antiphon_tts.metrics import TtsMetrics
from antiphon_tts.reply import Audio, Clock, Event, Flushed, Reply, Skipped, Spoken
from antiphon_tts.settings import Settings

VOICE = Voice("test", 8000)


class Pieces:
    """Says each segment in the given stretches, of so many samples, each after so many seconds of its listener's."""

    def __init__(self, clock: "Stepped", *stretches: tuple[int, float, tuple[Said, ...]]) -> None:
        self._clock = clock
        self._stretches = stretches

    async def speak(self, line: Any, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        for samples, late_s, said in self._stretches:
            self._clock.at += late_s
            yield Speech(b"\0\0" * samples, said, time.monotonic())


class Stepped(Clock):
    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at


async def spoken(pieces: Pieces, clock: Clock, *texts: str) -> tuple[list[Event], CollectorRegistry]:
    registry = CollectorRegistry()
    reply = Reply(pieces, VOICE, Settings(ahead_s=600), TtsMetrics.register(registry), clock)
    async with asyncio.TaskGroup() as tasks:
        speaking = tasks.create_task(reply.speak())
        events = tasks.create_task(_all(reply))
        for number, text in enumerate(texts):
            reply.text(text)
            reply.flush(number)
        reply.finish()
        await speaking
    return events.result(), registry


async def _all(reply: Reply) -> list[Event]:
    return [event async for event in reply.events()]


async def test_words_of_later_stretches_are_placed_from_their_segments_first_sample() -> None:
    clock = Stepped()
    pieces = Pieces(clock, (800, 0, ()), (800, 0, (Said("a", 80, 1200),)), (400, 0, (Said("b", 1200, 2000),)))
    events, _ = await spoken(pieces, clock, "One.", "Two.")
    words = [(event.text, event.start_ms, event.end_ms) for event in events if isinstance(event, Spoken)]
    assert words == [("a", 10, 150), ("b", 150, 250), ("a", 260, 400), ("b", 400, 500)]
    assert sum(len(event.pcm) for event in events if isinstance(event, Audio)) == 2 * 2 * 2000
    assert [event.timed is not None for event in events if isinstance(event, Audio)].count(True) == 2


async def test_words_that_come_without_audio_are_told() -> None:
    clock = Stepped()
    events, _ = await spoken(Pieces(clock, (800, 0, ()), (0, 0, (Said("a", 0, 800),))), clock, "One.")
    assert [type(event) for event in events] == [Audio, Audio, Spoken, Flushed]


async def test_a_segment_without_sound_is_skipped() -> None:
    clock = Stepped()
    events, registry = await spoken(Pieces(clock), clock, "One.", "🎉")
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped("One."), Skipped("🎉")]
    assert registry.get_sample_value("antiphon_tts_skipped_segments_total") == 2
    assert registry.get_sample_value("antiphon_tts_segments_total") == 0


@pytest.mark.parametrize(("late_s", "dry"), [(0.05, 0), (0.3, 1)])
async def test_a_listener_that_runs_dry_within_a_segment_is_counted(late_s: float, dry: int) -> None:
    clock = Stepped()
    _, registry = await spoken(Pieces(clock, (800, 5.0, ()), (800, late_s, ())), clock, "One.")
    assert registry.get_sample_value("antiphon_tts_underruns_total") == dry
    assert registry.get_sample_value("antiphon_tts_underrun_seconds_total") == pytest.approx(dry * 0.2)


async def test_text_that_comes_late_is_no_underrun() -> None:
    clock, registry = Stepped(), CollectorRegistry()
    pieces = Pieces(clock, (800, 0.0, ()))
    reply = Reply(pieces, VOICE, Settings(), TtsMetrics.register(registry), clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reply.speak())
        tasks.create_task(_all(reply))
        reply.text("One. ")
        reply.flush(1)
        while registry.get_sample_value("antiphon_tts_segments_total") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
        clock.at += 60
        reply.text("Two.")
        reply.finish()
    assert registry.get_sample_value("antiphon_tts_segments_total") == 2
    assert registry.get_sample_value("antiphon_tts_underruns_total") == 0
