"""What a load test is: how many callers, when they come, what they do, and what counts as good."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ..errors import BenchError


class PlanError(BenchError):
    """A load test that makes no sense."""


class Arrivals(StrEnum):
    """When callers come: evenly, at random as independent people do, or ever faster."""

    CONSTANT = "constant"
    POISSON = "poisson"
    RAMP = "ramp"


class Transport(StrEnum):
    WS = "ws"
    WEBRTC = "webrtc"


@dataclass(frozen=True, slots=True)
class Manner:
    """How callers behave. Shares are of turns, levels in dBFS, times in seconds.

    `pause_s` is a hesitation in the middle of what is said; `barge_in_share` of the turns break into the answer before
    when it has been heard for `barge_in_at_s`.
    """

    think_s: float = 0.3
    pause_share: float = 0.0
    pause_s: float = 0.6
    barge_in_share: float = 0.0
    barge_in_at_s: float = 0.5
    noise_dbfs: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What a platform must keep under load: a p95 of V2V over all turns, and at most a share of them without answer."""

    p95_ms: float = 1500.0
    failed_share: float = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """`turns` is of each caller; an answer that has not begun `timeout_s` after the question is none."""

    url: str
    callers: int
    files: Sequence[Path]
    turns: int = 3
    arrivals: Arrivals = Arrivals.RAMP
    over_s: float = 5.0
    transport: Transport = Transport.WS
    timeout_s: float = 10.0
    manner: Manner = field(default_factory=Manner)
    agent: str | None = None
    token: str | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if self.callers < 1 or self.turns < 1:
            raise PlanError(f"a load needs callers and turns: {self.callers} callers of {self.turns} turns are none")
        if not self.files:
            raise PlanError("callers need something to say: give a folder with WAV files")
        if not math.isfinite(self.over_s) or self.over_s < 0 or self.timeout_s <= 0:
            raise PlanError(f"times must be 0 or more: over {self.over_s:g} s, time-out {self.timeout_s:g} s")

    def starts_s(self) -> list[float]:
        """When each caller calls, in seconds from the beginning, in order; all of them by `over_s`.

        A ramp's n-th comes at the root of its share, so that the rate grows in proportion to time.
        """
        shares = [number / self.callers for number in range(self.callers)]
        match self.arrivals:
            case Arrivals.CONSTANT:
                return [self.over_s * share for share in shares]
            case Arrivals.RAMP:
                return [self.over_s * math.sqrt(share) for share in shares]
            case Arrivals.POISSON:
                # Given how many come, those of a Poisson process come at independent times.
                draw = random.Random(self.seed)
                return sorted(draw.uniform(0, self.over_s) for _ in range(self.callers))
