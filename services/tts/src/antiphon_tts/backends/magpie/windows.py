"""When a stream's decoded frames are made sound.

Every window costs a decoding of the frames before it once more, so small ones are dear, and large ones late. The
smallest that can be kept up is the one whose sound lasts as long as it takes to make; a listener with a lead can wait
for a larger one.
"""

import math
from dataclasses import dataclass

from .. import Mode

# Of a listener's lead, how much may be spent on waiting for a larger window.
SHARE = 0.5
# Where nothing can be kept up windows are of so many frames; the first one, which somebody waits for in silence, less.
MOST, MOST_AT_FIRST = 32, 8


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: of sound in a frame, to decode a frame, and to make a frame of every stream's sound; and how many frames
    before a window are made once more."""

    frame_s: float
    step_s: float
    sound_s: float
    back: int

    @property
    def least(self) -> int:
        """The fewest frames a window can have whose sound lasts as long as it takes to make."""
        spare_s = self.frame_s - self.step_s - self.sound_s
        if spare_s * MOST <= self.sound_s * self.back:
            return MOST
        return max(1, math.ceil(self.sound_s * self.back / spare_s))

    def within(self, seconds: float) -> int:
        """How many frames of a window can be made in that time."""
        return int((seconds - self.sound_s * self.back) / max(self.step_s + self.sound_s, 1e-6))


def window(mode: Mode, *, fresh: int, ended: bool, first: int, lead_s: float | None, pace: Pace) -> int | None:
    """How many of `fresh` frames are to be heard now, None: wait for more.

    `lead_s` is how much audio the listener has left, None before the first. HYBRID waits for as many frames as come
    within a share of the lead, so windows grow with it, and a segment that has time comes whole.
    """
    if ended:
        return fresh
    if mode is Mode.BATCH or fresh <= 0:
        return None
    if lead_s is None:
        wanted = max(first, min(pace.least, MOST_AT_FIRST))
    else:
        wanted = max(first, pace.least)
        if mode is Mode.HYBRID:
            wanted = max(wanted, pace.within(SHARE * lead_s))
    return fresh if fresh >= wanted else None
