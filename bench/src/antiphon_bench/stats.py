"""Percentiles in which a failure can never look like an improvement."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds over all turns. A turn without an answer ranks above every other: a percentile that falls on one is
    None, and so is the maximum when there is one."""

    count: int
    missing: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def summarise(values_ms: Sequence[float | None]) -> Latencies:
    """The percentiles (nearest rank) of what was measured; None is a turn that has no figure because it failed."""
    p50, p95, p99, most = (ranked_at(values_ms, share) for share in (0.5, 0.95, 0.99, 1.0))
    return Latencies(len(values_ms), sum(value is None for value in values_ms), p50, p95, p99, most)


def ranked_at(values: Sequence[float | None], share: float) -> float | None:
    """The percentile by nearest rank, a missing value ranking above every other; None when it falls on one."""
    ranked = sorted(math.inf if value is None else value for value in values)
    if not ranked:
        return None
    value = ranked[max(0, math.ceil(share * len(ranked)) - 1)]
    return None if math.isinf(value) else value
