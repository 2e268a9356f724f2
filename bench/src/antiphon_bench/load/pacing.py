"""The clock of many callers: a tick every 20 ms of absolute time, and how well it was kept."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from ..stats import ranked_at
from .material import TICK_S


@dataclass(frozen=True, slots=True)
class Kept:
    """How a clock was kept: ticks, how late they were in ms, and by which share it ran slow on average."""

    ticks: int
    late_p50_ms: float | None
    late_p99_ms: float | None
    late_max_ms: float | None
    drift: float


@dataclass(slots=True)
class Pacer:
    """Ticks are due at whole multiples of 20 ms from `start_s` of `time.monotonic`; a late one delays no other."""

    start_s: float
    _due_s: list[float] = field(default_factory=list)
    _late_s: list[float] = field(default_factory=list)

    async def ticks(self) -> AsyncIterator[tuple[float, float]]:
        """For each tick when it was due and when it is."""
        due_s = self.start_s + TICK_S * max(0, round((time.monotonic() - self.start_s) / TICK_S))
        while True:
            due_s += TICK_S
            await asyncio.sleep(due_s - time.monotonic())
            now_s = time.monotonic()
            self._due_s.append(due_s - self.start_s)
            self._late_s.append(now_s - due_s)
            yield due_s, now_s

    def kept(self) -> Kept:
        late = list(self._late_s)
        p50, p99, most = (ranked_at(late, share) for share in (0.5, 0.99, 1.0))
        drift = float(np.polyfit(self._due_s, late, 1)[0]) if len(late) > 1 else 0.0
        return Kept(len(late), _ms(p50), _ms(p99), _ms(most), drift)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
