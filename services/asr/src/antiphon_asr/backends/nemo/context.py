"""The arithmetic of cache-aware streaming: which audio a step takes, and how an end is padded.

The model sees mel frames, one each HOP samples, and puts out an encoder frame for each `factor` of them. With the
attention context [left, right] it takes right + 1 encoder frames at a time, each of which attends to the whole chunk: a
chunk holds its own look-ahead.
"""

from dataclasses import dataclass

RATE_HZ = 16_000
# Samples between mel frames: 10 ms.
HOP = 160
# Mel frames in front of a step's own that make its first ones exact: 480 samples cover half a window and the one
# sample that pre-emphasis looks back.
LEAD_IN = 3
# The silence behind an end lets the decoder emit what it still holds back: a context, but 160 ms at most, which is
# where longer ones stopped to help the seed.
MOST_SILENT_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Context:
    """An attention context. `history` mel frames before a chunk are its convolutions' left context."""

    left: int
    right: int
    factor: int = 8
    history: int = 9
    half_window: int = 256

    @property
    def frames(self) -> int:
        """Encoder frames a step puts out, but for the first one."""
        return self.right + 1

    @property
    def frame_samples(self) -> int:
        return HOP * self.factor

    @property
    def ms(self) -> int:
        return self.frames * self.frame_samples * 1000 // RATE_HZ

    @property
    def next_mel(self) -> int:
        """Mel frames that a step takes."""
        return self.factor * self.frames

    @property
    def first_mel(self) -> int:
        """Mel frames that the first step takes: its last one is the first encoder frame's of the last output.

        At least `history`, so that the second step finds its history complete. With right = 0 that is one encoder
        frame more.
        """
        return max(1 + self.factor * self.right, self.history)

    @property
    def first_frames(self) -> int:
        return (self.first_mel - 1) // self.factor + 1

    def mel_after(self, steps: int) -> int:
        """Mel frames taken by so many steps."""
        return self.first_mel + (steps - 1) * self.next_mel if steps else 0

    def frames_after(self, steps: int) -> int:
        """Encoder frames put out by so many steps."""
        return self.first_frames + (steps - 1) * self.frames if steps else 0

    def samples_after(self, steps: int) -> int:
        """Samples that so many steps need."""
        return (self.mel_after(steps) - 1) * HOP + self.half_window if steps else 0

    def steps_within(self, samples: int) -> int:
        """The most steps that need no sample beyond the first `samples`."""
        if samples < self.samples_after(1):
            return 0
        return 1 + (samples - self.samples_after(1)) // (self.next_mel * HOP)

    def steps_to_flush(self, end: int) -> int:
        """Steps until what was said before the sample `end` is decoded: whole ones, with enough silence behind it."""
        covered = end + min(self.frames, MOST_SILENT_FRAMES) * self.frame_samples
        steps = self.steps_within(covered)
        return steps if self.samples_after(steps) == covered else steps + 1

    def window(self, step: int) -> tuple[int, int]:
        """The samples that step number `step` (from 0) looks at; the start may lie before the stream's first one."""
        history = self.history if step else 0
        return (self.mel_after(step) - history - LEAD_IN) * HOP, self.samples_after(step + 1)
