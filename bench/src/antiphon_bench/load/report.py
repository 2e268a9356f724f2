"""A load test as it goes and as it went, for a terminal and as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..machine import load_average, machine
from .knee import Level
from .plan import Goal, Plan
from .rows import TurnRow
from .run import Loaded
from .score import Score, score


@contextmanager
def watched(console: Console, plan: Plan) -> Iterator[Callable[[TurnRow], None]]:
    """Shows a bar and the figures so far while the context lasts; gives what to tell each turn to."""
    rows: list[TurnRow] = []
    bar = Progress(TextColumn("turns"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
    task = bar.add_task("turns", total=plan.callers * plan.turns)

    def shown() -> Group:
        return Group(bar, score_table([(str(plan.callers), score(rows, plan.timeout_s))]))

    with Live(shown(), console=console, refresh_per_second=2, transient=True) as live:

        def row(one: TurnRow) -> None:
            rows.append(one)
            bar.advance(task)
            if console.is_terminal:
                live.update(shown())

        yield row


def score_table(scores: Sequence[tuple[str, Score]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("callers", "turns", "good", "p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    table.add_column("outcomes")
    for callers, one in scores:
        outcomes = ", ".join(f"{name} {count}" for name, count in one.outcomes.items())
        figures = [f"{ms:.0f} ms" for ms in (one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms)]
        table.add_row(callers, str(one.turns), f"{100 * (1 - one.failed_share):.1f} %", *figures, outcomes)
    return table


def print_loaded(loaded: Loaded, console: Console) -> None:
    """The figures of one load, and how well its callers kept time."""
    console.print(score_table([(str(loaded.plan.callers), score(loaded.rows, loaded.plan.timeout_s))]))
    console.print(trouble_line(score(loaded.rows, loaded.plan.timeout_s)), highlight=False)
    console.print(
        f"[dim]a turn that is not good counts as {loaded.plan.timeout_s:g} s; {pacing_line(loaded)}; {machine()}, "
        f"load {load_average()}[/]",
        highlight=False,
    )


def trouble_line(result: Score) -> str:
    """Format the number of turns with each kind of trouble, regardless of their latency."""
    found = [f"{kind.replace('_', ' ')} {count}" for kind, count in result.troubles.items() if count]
    if not found:
        return "no turn had dead air, a broken-off reply or silence after an interruption"
    share = f"{100 * result.troubled_share:.1f} % of turns were troubled"
    return f"[red]{share}[/]: {', '.join(found)}; {result.dead_air_s:.1f} s of dead air in all"


def pacing_line(loaded: Loaded) -> str:
    late = max((kept.late_p99_ms or 0.0 for kept in loaded.pacing), default=0.0)
    return f"callers' frames at most {late:.1f} ms late (p99), drift {100 * drift(loaded):.4f} %"


def drift(loaded: Loaded) -> float:
    """The worst process's, as a share."""
    return max((abs(kept.drift) for kept in loaded.pacing), default=0.0)


def print_knee(levels: Sequence[Level], goal: Goal, found: int, cores: float, console: Console) -> None:
    console.print(score_table([(f"{one.callers}{'' if one.kept else ' ✗'}", one.score) for one in levels]))
    console.print(
        f"[bold]{found}[/] callers keep p95 ≤ {goal.p95_ms:g} ms with at most {100 * goal.failed_share:g} % failed: "
        f"{found / cores:.1f} a core or GPU of {cores:g}",
        highlight=False,
    )


def content(levels: Sequence[Level] | None, loaded: Loaded, goal: Goal) -> dict[str, Any]:
    """Everything, as plain values: what was asked for, by which machine, and every turn."""
    loads = [(one.callers, one.kept, one.loaded) for one in levels] if levels else [(loaded.plan.callers, None, loaded)]
    plan = {
        key: str(value) if key in ("arrivals", "transport") else value for key, value in asdict(loaded.plan).items()
    }
    plan |= {"files": [path.name for path in loaded.plan.files], "token": None}
    return {
        "plan": plan,
        "goal": asdict(goal),
        "machine": machine(),
        "load_average": load_average(),
        "levels": [
            {
                "callers": callers,
                "kept": kept,
                "score": score(one.rows, one.plan.timeout_s).to_json(),
                "pacing": [asdict(clock) for clock in one.pacing],
                "wall_s": round(one.wall_s, 2),
                "cpu_s": round(one.cpu_s, 2),
                "turns": [row.to_json() for row in one.rows],
            }
            for callers, kept, one in loads
        ],
    }


def save(found: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def headline(loaded: Loaded, levels: Sequence[Level] | None, found: int) -> str:
    """The line that a bench ends with."""
    result = score(loaded.rows, loaded.plan.timeout_s)
    figures: dict[str, Any] = {"callers": loaded.plan.callers, "turns": result.turns, "good": result.good}
    figures |= {name: round(getattr(result, name)) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
    figures |= {"troubled": result.troubled, "dead_air_s": round(result.dead_air_s, 1)}
    figures |= {"drift_pct": round(100 * drift(loaded), 4), "load": load_average()}
    if levels:
        figures["knee"] = found
    return " ".join(["BENCH load", *(f"{name}={value}" for name, value in figures.items())])
