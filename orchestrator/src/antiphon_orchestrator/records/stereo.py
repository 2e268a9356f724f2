"""Both sides of a call as one stereo file, the caller left."""

from dataclasses import dataclass, field

import numpy as np

from antiphon_runtime.resampling import StreamResampler

from .formats import AudioFile
from .tracks import RATE_HZ, AgentTrack, CallerTrack, Samples

# The last seconds are kept open, for audio that comes late.
HOLD_S = 2.0
# Silence before the first sound, so that a file that has just been created can be played.
LEAD_IN_S = 0.25
# Written at once.
MOST_WRITTEN = 10 * RATE_HZ


@dataclass(frozen=True, slots=True)
class Chunk:
    """Audio of one side, 16-bit PCM, that came `at_s` after the recording's start."""

    pcm: bytes
    rate_hz: int
    channels: int
    at_s: float


@dataclass(slots=True)
class _Mono:
    """Converts one side to mono samples at the recording's rate."""

    resampler: StreamResampler = field(default_factory=lambda: StreamResampler(RATE_HZ, RATE_HZ))

    def samples(self, chunk: Chunk) -> Samples:
        whole = len(chunk.pcm) - len(chunk.pcm) % (2 * chunk.channels)
        pcm = chunk.pcm[:whole]
        if chunk.channels > 1:
            pcm = np.frombuffer(pcm, "<i2").reshape(-1, chunk.channels).mean(axis=1).astype("<i2").tobytes()
        if chunk.rate_hz != self.resampler.from_hz:
            self.resampler = StreamResampler(chunk.rate_hz, RATE_HZ)
        return np.frombuffer(self.resampler.resample(pcm), "<i2")


class StereoRecording:
    """Places both sides on the clock and writes them to a file, but for the last `HOLD_S`.

    Times are seconds since the recording's start and do not go back. Methods raise OSError.
    """

    def __init__(self, file: AudioFile) -> None:
        self._file = file
        self._caller, self._agent = CallerTrack(), AgentTrack()
        self._caller_mono, self._agent_mono = _Mono(), _Mono()

    @property
    def written_s(self) -> float:
        return self._caller.base / RATE_HZ

    @property
    def dropped_s(self) -> float:
        """Audible audio that had no place on the clock."""
        return (self._caller.dropped + self._agent.dropped) / RATE_HZ

    def begin(self) -> None:
        """Write the lead-in. The call starts at its end, at `LEAD_IN_S`."""
        self._write(round(LEAD_IN_S * RATE_HZ))

    def add_caller(self, chunk: Chunk) -> None:
        self._caller.place(self._caller_mono.samples(chunk), chunk.at_s)

    def add_agent(self, chunk: Chunk) -> None:
        self._agent.place(self._agent_mono.samples(chunk), chunk.at_s)

    def interrupt_agent(self, at_s: float) -> None:
        self._agent.interrupt(at_s)

    def advance(self, now_s: float) -> None:
        """Write what is older than `HOLD_S`."""
        self._write(round((now_s - HOLD_S) * RATE_HZ))

    def finish(self, now_s: float) -> None:
        """Write the rest. What the agent had not yet said is left out."""
        end = round(now_s * RATE_HZ)
        self._agent.cut(end)
        self._write(max(end, self._caller.end))

    def _write(self, until: int) -> None:
        while (start := self._caller.base) < until:
            part = min(until, start + MOST_WRITTEN)
            self._file.write(np.stack([self._caller.take(part), self._agent.take(part)], axis=1))
