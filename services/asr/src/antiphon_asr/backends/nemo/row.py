"""What a batched step is made of. Needs no torch, and neither does what schedules it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Row:
    """A stream's part of a batch: what it reads, what it writes, and the audio it looks at.

    Frames before `own_from` are read from `parent`'s ring, later ones from `slot`'s. `frame` is the number of frames
    put out before this step, `step` that of steps taken.
    """

    slot: int
    parent: int
    own_from: int
    own_from_step: int
    frame: int
    step: int
    window: NDArray[np.int16]
