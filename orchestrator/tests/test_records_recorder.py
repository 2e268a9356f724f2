"""The processor that records a call in its pipeline."""

from collections.abc import Awaitable, Callable
from typing import Any

from own_bot import bot
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
    TTSAudioRawFrame,
)

from antiphon_orchestrator.records.recorder import CallRecorder


class Kept:
    """A recording that only notes what it is given."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self.seen: list[Any] = []

    def add_caller(self, pcm: bytes, rate_hz: int, channels: int) -> None:
        self.seen.append(("caller", len(pcm), rate_hz, channels))

    def add_agent(self, pcm: bytes, rate_hz: int, channels: int) -> None:
        self.seen.append(("agent", len(pcm), rate_hz, channels))

    def interrupt_agent(self) -> None:
        self.seen.append("interrupted")


async def through(kept: Kept, *frames: Frame, then: Callable[[Any], Awaitable[None]]) -> Any:
    async with bot(CallRecorder(kept)) as at:  # type: ignore[arg-type]
        await at.send(*frames)
        await then(at)
        return at


async def test_the_processor_records_both_sides_and_passes_everything_on() -> None:
    kept = Kept()
    frames = [
        InputAudioRawFrame(bytes(640), 16_000, 1),
        TTSAudioRawFrame(bytes(960), 24_000, 1),
        OutputAudioRawFrame(bytes(480), 24_000, 1),
    ]

    async def all_passed(at: Any) -> None:
        await at.down.until(OutputAudioRawFrame, 2)
        await at.send(InterruptionFrame())
        await at.down.until(InterruptionFrame)

    at = await through(kept, *frames, then=all_passed)
    assert sorted(kept.seen[:-1]) == [("agent", 480, 24_000, 1), ("agent", 960, 24_000, 1), ("caller", 640, 16_000, 1)]
    assert kept.seen[-1] == "interrupted" and len(at.down.of(InputAudioRawFrame)) == 1


async def test_the_caller_is_told_once_that_the_recording_failed() -> None:
    kept = Kept()
    kept.failure = "full"

    async def told(at: Any) -> None:
        await at.up.until(OutputTransportMessageUrgentFrame)
        await at.send(*[InputAudioRawFrame(bytes(640), 16_000, 1)] * 3)
        await at.down.until(InputAudioRawFrame, 6)

    at = await through(kept, *[InputAudioRawFrame(bytes(640), 16_000, 1)] * 3, then=told)
    assert [frame.message for frame in at.up.of(OutputTransportMessageUrgentFrame)] == [
        {
            "type": "antiphon.error",
            "reason": "recording_failed",
            "message": "this call is no longer recorded: there is no space left",
        }
    ]
