"""The language model's figures as tables."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench import Duet

LEVEL = (
    *("callers", "cold_p50", "cold_p95", "cold_p99", "warm_p50", "warm_p95", "warm_p99"),
    *("token_p50", "token_p95", "token_p99", "cached", "tokens_per_s"),
)


def level_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table: first token cold and warm, between tokens, share of warm prompts that was cached."""
    return _table(LEVEL, [[row[name] for name in LEVEL] for row in rows])


def duet_table(duets: "Sequence[Duet]") -> str:
    """A Markdown table of means, unscheduled and by turns, and how much sooner and later the latter is."""
    names = ("voice", "callers", "first", "by turns", "sooner", "last", "by turns", "later")
    rows = []
    for duet in duets:
        first, last = (
            [mean(getattr(reply, what) for reply in side) for side in (duet.unscheduled, duet.by_turns)]
            for what in ("first_ms", "last_ms")
        )
        rows.append([duet.voice, duet.callers, *first, duet.ratio("first_ms"), *last, 1 / duet.ratio("last_ms")])
    return _table(names, rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
    return str(value)
