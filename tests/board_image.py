"""Draws a board from a Prometheus, for those who have no Grafana at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from real_prometheus import Prometheus

matplotlib.use("agg")
from matplotlib import pyplot as plt  # after the backend is chosen

COLUMN_IN, ROW_IN = 0.72, 0.34
UNITS = {"s": "s", "none": "", "percentunit": "", "percent": "%", "bytes": "B"}
PALETTE = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#f2495c", "#8ab8ff", "#c0d8ff")
INK, PAPER, PANEL, GRID = "#d8d9da", "#111217", "#181b1f", "#2c3235"


def draw(
    board: dict[str, Any], at: Prometheus, filled: Callable[[str], str], start: float, end: float, path: Path
) -> None:
    """Writes the board as an image, each panel where its grid has it."""
    shown = [panel for panel in board["panels"] if panel["type"] != "text"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
    with plt.rc_context({"text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}):
        figure = plt.figure(figsize=(24 * COLUMN_IN, rows * ROW_IN), facecolor=PAPER)
        for panel in shown:
            _panel(figure, panel, rows, at, filled, (start, end))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=70, facecolor=PAPER)
        plt.close(figure)


def _panel(
    figure: Any,
    panel: dict[str, Any],
    rows: int,
    at: Prometheus,
    filled: Callable[[str], str],
    span: tuple[float, float],
) -> None:
    place = panel["gridPos"]
    left, bottom = place["x"] / 24, 1 - (place["y"] + place["h"]) / rows
    if panel["type"] == "row":
        figure.text(0.006, bottom + 0.2 / rows, panel["title"], fontsize=13, fontweight="bold")
        return
    width, height = place["w"] / 24, place["h"] / rows
    pad = (0.9 / 24, 1.3 / rows)
    axes = figure.add_axes((left + pad[0], bottom + pad[1], width - 1.3 * pad[0], height - 2.3 * pad[1]))
    axes.set_facecolor(PANEL)
    axes.spines[:].set_color(GRID)
    axes.tick_params(labelsize=8)
    axes.set_title(filled(panel["title"]), loc="left", fontsize=10)
    found = [(_series(at, filled(target["expr"]), span), target) for target in panel.get("targets", ())]
    unit = UNITS.get(panel.get("fieldConfig", {}).get("defaults", {}).get("unit", ""), "")
    {"stat": _stat, "heatmap": _heat, "bargauge": _bars}.get(panel["type"], _lines)(axes, found, unit, panel)


def _series(at: Prometheus, query: str, span: tuple[float, float]) -> list[dict[str, Any]]:
    return at.range(query, *span)


def _name(target: dict[str, Any], metric: dict[str, str]) -> str:
    text = str(target.get("legendFormat") or "")
    for label, value in metric.items():
        text = text.replace("{{" + label + "}}", value)
    return text


def _points(series: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([(float(when), float(value)) for when, value in series["values"]])
    return values[:, 0], values[:, 1]


def _stat(axes: Any, found: Any, unit: str, panel: dict[str, Any]) -> None:
    axes.set_axis_off()
    last = [_points(series)[1][-1] for series, _ in ((s, t) for many, t in found for s in many)]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    value = last[-1] if last else float("nan")
    color = next((step["color"] for step in reversed(steps) if step.get("value") is None or value >= step["value"]), "")
    shown = f"{100 * value:.1f} %" if "percentunit" in str(panel["fieldConfig"]) else f"{value:.3g} {unit}"
    colors = {"green": "#73bf69", "red": "#f2495c"}
    axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=20, color=colors.get(color, INK))


def _lines(axes: Any, found: Any, unit: str, panel: dict[str, Any]) -> None:
    drawn = [(_name(target, series["metric"]), *_points(series)) for many, target in found for series in many]
    drawn = [(name, when, np.nan_to_num(values)) for name, when, values in drawn if np.isfinite(values).any()]
    if not drawn:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, fontsize=9)
        return
    zero = min(when[0] for _, when, _ in drawn)
    stacking = panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {}).get("stacking", {})
    if stacking.get("mode") == "normal":
        longest = max((when for _, when, _ in drawn), key=len)
        rows = [np.interp(longest, when, values, left=0, right=0) for _, when, values in drawn]
        axes.stackplot(longest - zero, rows, colors=PALETTE, labels=[name for name, _, _ in drawn], alpha=0.8)
    else:
        for (name, when, values), color in zip(drawn, PALETTE * 3, strict=False):
            axes.plot(when - zero, values, color=color, linewidth=1.6, label=name)
    axes.set_ylim(bottom=0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_xlabel("s", fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    axes.legend(fontsize=7, facecolor=PANEL, edgecolor=GRID, labelcolor=INK, loc="upper right", ncols=2)


def _heat(axes: Any, found: Any, _unit: str, _panel: dict[str, Any]) -> None:
    series = sorted((one for many, _ in found for one in many), key=lambda one: float(one["metric"]["le"]))
    series = [one for one in series if one["metric"]["le"] != "+Inf"]
    longest = max((_points(one)[0] for one in series), key=len)
    rows = [np.interp(longest, *_points(one), left=0, right=0) for one in series]
    counts = np.maximum(np.diff(np.array([np.zeros(len(longest)), *rows]), axis=0), 0)
    axes.imshow(np.sqrt(counts), aspect="auto", origin="lower", cmap="inferno", interpolation="nearest")
    ticks = range(0, len(series), 4)
    axes.set_yticks(list(ticks), [f"{float(series[at]['metric']['le']):g} s" for at in ticks])
    axes.set_xticks([])


def _bars(axes: Any, found: Any, unit: str, _panel: dict[str, Any]) -> None:
    bars = [(_name(target, one["metric"]), _points(one)[1][-1]) for many, target in found for one in many]
    bars = [(name, value) for name, value in bars if np.isfinite(value)]
    axes.barh([name for name, _ in bars], [value for _, value in bars], color=PALETTE[3])
    axes.set_xlabel(unit, fontsize=8)
    axes.invert_yaxis()
