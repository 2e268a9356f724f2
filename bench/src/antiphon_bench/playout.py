"""The loudspeaker of a phone: plays what has arrived in real time, and silence when nothing has."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from .frames import AgentAudio
from .wav import Samples, resampled

LONGEST_BUFFER_S = 60.0


@dataclass(slots=True)
class _Waiting:
    arrived_s: float
    generation: int
    samples: Samples


class Playout:
    """Audio received and not yet heard. It has no jitter delay: what has arrived is heard at the next tick.

    Bounded at 60 s. A server that runs further ahead of real time loses what does not fit, which `overrun_s` counts;
    making it wait instead would also hold up the message that says to drop everything. The first frame sets the rate
    of the line; a frame of another rate is converted on its own. Times are seconds on one monotonic clock: a tick that
    runs late plays what it would have played in time, so a busy machine cannot make an agent seem faster.
    """

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._waiting: deque[_Waiting] = deque()
        self._length = 0
        self._generation = 0
        self._dropped_s = 0.0
        self.rate_hz = 0
        self.underruns = 0
        self.overrun_s = 0.0

    def push(self, audio: AgentAudio, now_s: float) -> None:
        self.rate_hz = self.rate_hz or audio.rate_hz
        samples = resampled(audio.samples, audio.rate_hz, self.rate_hz)
        room = round(LONGEST_BUFFER_S * self.rate_hz) - self._length
        kept = samples[:room]
        self.overrun_s += (len(samples) - len(kept)) / self.rate_hz
        if len(kept):
            self._waiting.append(_Waiting(now_s, self._generation, kept))
            self._length += len(kept)

    def drop(self, now_s: float) -> None:
        """Forget what has not been heard by now."""
        self._generation += 1
        self._dropped_s = now_s

    def tick(self, start_s: float) -> Samples:
        """What is heard in the tick that starts at `start_s`, padded with silence; empty until the line has a rate."""
        heard = np.zeros(round(self._tick_s * self.rate_hz), np.float32)
        filled = 0
        while filled < len(heard) and (first := self._next(start_s)) is not None:
            taken = first.samples[: len(heard) - filled]
            heard[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._length -= len(taken)
            first.samples = first.samples[len(taken) :]
        # Only a tick cut short in the middle of speech is a gap that a listener could hear.
        self.underruns += 0 < filled < len(heard)
        return heard

    def _next(self, start_s: float) -> _Waiting | None:
        while self._waiting:
            first = self._waiting[0]
            dropped = first.generation < self._generation and start_s >= self._dropped_s
            if len(first.samples) and not dropped:
                return first if first.arrived_s <= start_s else None
            self._length -= len(first.samples)
            self._waiting.popleft()
        return None
