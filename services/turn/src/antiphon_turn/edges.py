"""Where speech begins and pauses, from one voice probability per frame. Every position is in samples of the stream."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """How a model's probabilities are read.

    A frame is voice from `enter` on; once speech goes on, as long as it stays at `leave` or above. That is Silero's own
    VADIterator (github.com/snakers4/silero-vad, utils_vad.py). `start_frames` of voice in a row begin speech, and
    `resume_frames` do while the pause before them still has verdicts to come. A verdict is complete from `complete_at`.
    """

    frame_samples: int
    start_frames: int
    resume_frames: int
    enter: float
    leave: float
    complete_at: float


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began at `sample`."""

    sample: int


@dataclass(frozen=True, slots=True)
class Paused:
    """Speech ended before `sample`, and had been silent for `silence_samples` when that was noticed."""

    sample: int
    silence_samples: int


class Edges:
    """One speaker's edges. `silences` are in samples, ascending; a pause is reported at the first of them."""

    def __init__(self, rules: Rules, silences: Sequence[int]) -> None:
        self._rules = rules
        self._silences = silences
        self._end = 0
        self._speaking = False
        self._silent = 0  # while speaking: samples since the last voiced frame
        self._run = 0  # while not: voiced frames in a row
        self._pause = 0
        self._next = len(silences)  # of the pause's silences, the first that is still to be judged

    def hear(self, probability: float) -> Started | Paused | None:
        """Takes the next frame's probability, and gives the edge that it makes certain."""
        self._end += self._rules.frame_samples
        return self._while_speaking(probability) if self._speaking else self._while_silent(probability)

    def due(self, heard: int) -> list[int]:
        """Which of the silences the pause has newly reached, by index, when `heard` samples are in.

        None while a voiced frame may be the beginning of speech: the next frame tells.
        """
        if self._run:
            return []
        first = self._next
        while self._next < len(self._silences) and self._pause + self._silences[self._next] <= heard:
            self._next += 1
        return list(range(first, self._next))

    def settle(self) -> None:
        """No more verdicts are due in this pause."""
        self._next = len(self._silences)

    def _while_speaking(self, probability: float) -> Paused | None:
        if probability >= (self._rules.enter if self._silent else self._rules.leave):
            self._silent = 0
            return None
        self._silent += self._rules.frame_samples
        if self._silent < self._silences[0]:
            return None
        self._speaking, self._run, self._next = False, 0, 0
        self._pause = self._end - self._silent
        return Paused(self._pause, self._silent)

    def _while_silent(self, probability: float) -> Started | None:
        if probability < self._rules.enter:
            self._run = 0
            return None
        self._run += 1
        settled = self._next == len(self._silences)
        if self._run < (self._rules.start_frames if settled else self._rules.resume_frames):
            return None
        self._speaking, self._silent = True, 0
        self.settle()
        return Started(self._end - self._run * self._rules.frame_samples)
