"""A load test as one page that can be sent around: its figures, plots and slowest turns, with nothing to fetch."""

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("svg")
from matplotlib import pyplot as plt  # after the backend is chosen

from .rows import GOOD, TurnRow
from .run import Loaded
from .score import Score, latency_ms, score

STAGE_COLORS = {
    "pause": "#9a9aa8",
    "verdict": "#4f9d69",
    "transcript": "#3aa6b9",
    "llm": "#d9a441",
    "tool": "#8c6d46",
    "clause": "#e07b39",
    "tts": "#b05fb0",
    "transport": "#3b6fd4",
}
SLOWEST = 15
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#1c1c28}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #ddd}
th:last-child,td:last-child{text-align:left}.bad{color:#b3261e}svg{width:100%;height:auto}small{color:#666}
"""


def write_html(loads: Sequence[Loaded], title: str, about: str, path: Path) -> None:
    """Writes the page. Of several loads the plots of turns are of the largest."""
    shown = max(loads, key=lambda one: one.plan.callers)
    parts = [
        f"<h1>{html.escape(title)}</h1><p><small>{html.escape(about)}</small></p>",
        _figures(loads),
        _plot(lambda axes: _distribution(axes, shown), "Voice-to-voice time of all turns"),
        _plot(lambda axes: _over_time(axes, shown), "Turn by turn"),
        _plot(lambda axes: _stages(axes, shown.rows), "Where the server spent it: the mean of each stage"),
    ]
    if len(loads) > 1:
        parts.insert(2, _plot(lambda axes: _levels(axes, loads), "Callers at once"))
    parts.append(_slowest(shown))
    page = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    page += f"<title>{html.escape(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def _figures(loads: Sequence[Loaded]) -> str:
    def row(one: Loaded, result: Score) -> str:
        figures = [result.p50_ms, result.p95_ms, result.p99_ms, result.max_ms]
        cells = [str(one.plan.callers), str(result.turns), f"{100 * (1 - result.failed_share):.1f} %"]
        cells += [f"{ms:.0f} ms" for ms in figures]
        troubles = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in result.troubles.items() if count)
        cells.append(f"{100 * result.troubled_share:.1f} %{f': {troubles}' if troubles else ''}")
        cells.append(", ".join(f"{name} {count}" for name, count in result.outcomes.items()))
        return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"

    names = ("callers", "turns", "good", "p50", "p95", "p99", "max", "troubled", "outcomes")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(row(one, score(one.rows, one.plan.timeout_s)) for one in loads)
    timeout_s = loads[0].plan.timeout_s
    return (
        f"<table><tr>{head}</tr>{rows}</table><p><small>Percentiles rank all turns of all callers together. A turn "
        f"without a right answer counts as {timeout_s:g} s. Troubled turns had dead air of more than "
        f"3 s, a reply that broke off, or silence after an interruption.</small></p>"
    )


def _plot(draw: Callable[[Any], None], title: str) -> str:
    figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
    try:
        draw(axes)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    finally:
        plt.close(figure)
    _, tag, rest = file.getvalue().partition("<svg")  # before it stands what a page must not hold
    return tag + rest


def _distribution(axes: Any, loaded: Loaded) -> None:
    values = np.sort([latency_ms(row, loaded.plan.timeout_s) for row in loaded.rows])
    axes.step(values, 100 * np.arange(1, len(values) + 1) / max(1, len(values)), where="post", color="#3b6fd4")
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.set_ylabel("% of turns within")
    for share in (50, 95, 99):
        axes.axhline(share, color="#ccc", linewidth=0.8, zorder=0)


def _over_time(axes: Any, loaded: Loaded) -> None:
    for good, color, name in ((True, "#3b6fd4", "answered"), (False, "#b3261e", "not")):
        rows = [row for row in loaded.rows if (row.outcome in GOOD) == good]
        if rows:
            at = [row.at_s for row in rows]
            axes.scatter(at, [latency_ms(row, loaded.plan.timeout_s) for row in rows], s=8, color=color, label=name)
    axes.set_xlabel("s from the load's beginning")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _stages(axes: Any, rows: Sequence[TurnRow]) -> None:
    turns = [row.server["stages"] for row in rows if row.server and row.server.get("stages")]
    left = 0.0
    for name, color in STAGE_COLORS.items():
        total = sum(s["end_ms"] - s["start_ms"] for stages in turns for s in stages if s["name"] == name)
        if turns and total:
            axes.barh(0, total / len(turns), left=left, color=color, label=f"{name} {total / len(turns):.0f}")
            left += total / len(turns)
    axes.set_yticks([])
    axes.set_xlabel("ms")
    if left:
        axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.35))


def _levels(axes: Any, loads: Sequence[Loaded]) -> None:
    ordered = sorted(loads, key=lambda one: one.plan.callers)
    scores = [score(one.rows, one.plan.timeout_s) for one in ordered]
    callers = [one.plan.callers for one in ordered]
    for name, color in (("p50_ms", "#4f9d69"), ("p95_ms", "#d9a441"), ("p99_ms", "#b3261e")):
        axes.plot(callers, [getattr(one, name) for one in scores], marker="o", color=color, label=name[:-3])
    axes.set_xlabel("callers")
    axes.set_ylabel("ms")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)


def _slowest(loaded: Loaded) -> str:
    worst = sorted(loaded.rows, key=lambda row: -latency_ms(row, loaded.plan.timeout_s))[:SLOWEST]

    def cells(row: TurnRow) -> list[str]:
        server = row.server or {}
        slowed = (server.get("slowed_by") or {}).get("stage", "")
        v2v = "-" if row.v2v_ms is None else f"{row.v2v_ms:.0f} ms"
        return [str(row.caller), row.question, row.outcome, v2v, slowed, row.error or str(server.get("trace_id") or "")]

    head = "".join(
        f"<th>{name}</th>" for name in ("caller", "question", "outcome", "V2V", "slowed by", "trace or error")
    )
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in cells(row))}</tr>" for row in worst)
    return f"<h2>The slowest turns</h2><table><tr>{head}</tr>{rows}</table>"
