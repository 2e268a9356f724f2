"""Latencies for stubs, drawn from published percentiles so that a pipeline's structure can be measured anywhere."""

import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution given by points (share, milliseconds), straight between them. One seed, one sequence."""

    points: tuple[tuple[float, float], ...]

    def at(self, share: float) -> float:
        """The latency in seconds that `share` (0 to 1) of all draws stay below; the ends hold beyond the points."""
        above = bisect_right([point[0] for point in self.points], share)
        if above in (0, len(self.points)):
            return self.points[min(above, len(self.points) - 1)][1] / 1000
        (low, low_ms), (high, high_ms) = self.points[above - 1], self.points[above]
        return (low_ms + (high_ms - low_ms) * (share - low) / (high - low)) / 1000

    def draw(self, rng: random.Random) -> float:
        return self.at(rng.random())


ZERO = Latency(((0.0, 0.0), (1.0, 0.0)))


def profile(name: str, table: Mapping[str, Latency]) -> Latency:
    """The named profile; "zero" is always there. Raises ConfigError when there is none of that name."""
    if name == "zero":
        return ZERO
    if name not in table:
        raise ConfigError(f"unknown latency profile {name!r}: it is one of zero, {', '.join(sorted(table))}")
    return table[name]
