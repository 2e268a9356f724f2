"""How many callers a platform bears: the largest number at which it keeps its goal."""

from collections.abc import Callable
from dataclasses import dataclass

from .plan import Goal, Plan
from .run import Loaded, with_callers
from .score import Score, score

# Between the last number that was kept and the first that was not, the search stops at this share of it.
PRECISION = 0.1


@dataclass(frozen=True, slots=True)
class Level:
    """One number of callers, and how it went."""

    callers: int
    score: Score
    kept: bool
    loaded: Loaded


def find_knee(plan: Plan, goal: Goal, most: int, run: Callable[[Plan], Loaded]) -> list[Level]:
    """Doubles the plan's callers until the goal is missed, or `most` reached, then halves the gap. In order of trial.

    A level that fails is tried once more before it counts: on a shared machine one bad moment is not a limit.
    """
    levels: list[Level] = []

    def holds(callers: int) -> bool:
        for _ in range(2):
            loaded = run(with_callers(plan, callers))
            result = score(loaded.rows, plan.timeout_s)
            levels.append(Level(callers, result, result.keeps(goal), loaded))
            if levels[-1].kept:
                return True
        return False

    good, callers = 0, plan.callers
    while holds(callers):
        good = callers
        if callers >= most:
            return levels
        callers = min(most, 2 * callers)
    bad = callers
    while bad - good > max(1, PRECISION * good):
        middle = (good + bad) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return levels


def knee(levels: list[Level]) -> int:
    """The largest number that was kept, 0 when none was."""
    return max((level.callers for level in levels if level.kept), default=0)
