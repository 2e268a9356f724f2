"""Time to first audio against the length of a sentence, and against callers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .load import Level

COLORS = {"batch": "tab:orange", "hybrid": "tab:blue", "stream": "tab:green"}
MARKS = {"ours": "o", "seed": "x"}


def plot(levels: Sequence[Level], title: str, path: Path) -> None:
    """Writes a PNG of two panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (by_words, by_callers) = pyplot.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
    for level in levels:
        if level.callers == 1:
            _by_words(by_words, level)
    _by_callers(by_callers, levels)
    for axis in (by_words, by_callers):
        axis.grid(alpha=0.3)
        axis.set_yscale("log")
        axis.legend(fontsize=7)
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _by_words(axis: Any, level: Level) -> None:
    points = [(each.words, each.ttfb_ms) for each in level.heard if each.ttfb_ms is not None]
    axis.scatter(
        *zip(*points, strict=True),
        s=14,
        marker=MARKS[level.side],
        color=COLORS[level.mode],
        label=f"{level.side} {level.mode}",
    )
    axis.set(xlabel="words in the sentence, one caller", ylabel="time to first audio (ms)")


def _by_callers(axis: Any, levels: Sequence[Level]) -> None:
    for mode, color in COLORS.items():
        own = sorted(
            (level for level in levels if (level.side, level.mode) == ("ours", mode) and level.callers),
            key=lambda level: level.callers,
        )
        for name, style in (("p50", ":"), ("p95", "-")):
            points = [(level.callers, getattr(level.ttfb, name)) for level in own]
            shown = [(callers, value) for callers, value in points if value is not None]
            if shown:
                axis.plot(*zip(*shown, strict=True), style, marker="o", ms=3, color=color, label=f"{mode} {name}")
    axis.set(xlabel="callers at once", ylabel="time to first audio (ms)")
    axis.set_xscale("log", base=2)
