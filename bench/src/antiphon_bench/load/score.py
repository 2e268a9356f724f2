"""Score of a load test: percentiles over every turn of every caller, failures included."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..dead_air import Trouble
from ..stats import ranked_at
from .plan import Goal
from .rows import GOOD, Outcome, TurnRow


@dataclass(frozen=True, slots=True)
class Score:
    """`p…_ms` rank all turns together; one that is not good counts as `timeout_ms`, so no percentile is missing.

    `barge_in_p95_ms` is until the agent was silent, None when nobody broke in. `troubles` counts the turns with
    each kind, `troubled` those with any, and `dead_air_s` is the dead air of them all.
    """

    turns: int
    good: int
    outcomes: dict[str, int]
    timeout_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    barge_in_p95_ms: float | None
    troubles: dict[str, int] = field(default_factory=dict)
    troubled: int = 0
    dead_air_s: float = 0.0

    @property
    def troubled_share(self) -> float:
        return self.troubled / self.turns if self.turns else 0.0

    @property
    def failed_share(self) -> float:
        return 1 - self.good / self.turns if self.turns else 1.0

    def keeps(self, goal: Goal) -> bool:
        return self.turns > 0 and self.p95_ms <= goal.p95_ms and self.failed_share <= goal.failed_share

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "failed_share": round(self.failed_share, 5),
            "troubled_share": round(self.troubled_share, 5),
        }


def latency_ms(row: TurnRow, timeout_s: float) -> float:
    """Return the latency in ms that a turn is scored with: its own if it went well, else the time-out."""
    if row.outcome in GOOD and row.v2v_ms is not None:
        return row.v2v_ms
    return timeout_s * 1000


def score(rows: Sequence[TurnRow], timeout_s: float) -> Score:
    values = [latency_ms(row, timeout_s) for row in rows]
    p50, p95, p99, most = (ranked_at(values, share) or timeout_s * 1000 for share in (0.5, 0.95, 0.99, 1.0))
    broke_in = [row.barge_in_ms for row in rows if row.barge_in_ms is not None]
    counts = Counter(row.outcome.value for row in rows)
    return Score(
        turns=len(rows),
        good=sum(row.outcome in GOOD for row in rows),
        outcomes={outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]},
        timeout_ms=timeout_s * 1000,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=most,
        barge_in_p95_ms=ranked_at(broke_in, 0.95),
        troubles={kind.value: sum(kind.value in row.troubles for row in rows) for kind in Trouble},
        troubled=sum(bool(row.troubles) for row in rows),
        dead_air_s=round(sum(row.dead_air_s for row in rows), 3),
    )
