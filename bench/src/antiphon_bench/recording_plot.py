"""A recording with what was found in it, for the eye to check."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")
from matplotlib import pyplot as plt  # after the backend is chosen

from .recording import Result
from .sides import Sides

CALLER, AGENT, LATENCY = "#3b6fd4", "#e07b39", "#b3261e"
SECONDS_A_ROW = 20.0
# Of a wave, so many points a row.
POINTS = 2000


def plot_recording(sides: Sides, result: Result, path: Path) -> None:
    """Writes an image: both sides' waves, their speech shaded, each latency marked, in rows of 20 s."""
    rows = max(1, int(np.ceil(result.duration_s / SECONDS_A_ROW)))
    figure, all_axes = plt.subplots(rows, 1, figsize=(14, 1.9 * rows), layout="constrained", squeeze=False)
    try:
        for number, axes in enumerate(all_axes[:, 0]):
            _row(axes, sides, result, number * SECONDS_A_ROW)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90)
    finally:
        plt.close(figure)


def _row(axes: Any, sides: Sides, result: Result, start_s: float) -> None:
    for wave, middle, color in zip(sides.waves, (1.0, -1.0), (CALLER, AGENT), strict=False):
        low, high = (int((start_s + part) * sides.rate_hz) for part in (0.0, SECONDS_A_ROW))
        piece = wave[low:high]
        step = max(1, len(piece) // POINTS)
        peaks = np.abs(piece[: len(piece) // step * step].reshape(-1, step)).max(axis=1) if len(piece) else piece
        scale = max(float(np.abs(wave).max(initial=0.0)), 1e-9)
        at = start_s + np.arange(len(peaks)) * step / sides.rate_hz
        axes.fill_between(at, middle - peaks / scale, middle + peaks / scale, color=color, linewidth=0, alpha=0.7)
    for speech, color in ((sides.caller, CALLER), (sides.agent, AGENT)):
        for one in speech.segments:
            axes.axvspan(one.start / sides.rate_hz, one.end / sides.rate_hz, color=color, alpha=0.12, linewidth=0)
    for turn in result.turns:
        if turn.v2v_ms is not None and turn.agent_start_s is not None:
            axes.annotate(
                "",
                (turn.agent_start_s, 0.0),
                (turn.caller_end_s, 0.0),
                arrowprops={"arrowstyle": "->", "color": LATENCY},
            )
            axes.text(turn.caller_end_s, 0.12, f"{turn.v2v_ms:.0f} ms", color=LATENCY, fontsize=8, clip_on=True)
    for gap in result.dead_air:
        axes.axvspan(gap.start_s, gap.end_s, color="#888", alpha=0.15, hatch="//", linewidth=0)
    axes.set_xlim(start_s, start_s + SECONDS_A_ROW)
    axes.set_ylim(-2.1, 2.1)
    axes.set_yticks([1, -1][: len(sides.waves)], ["caller", "agent"] if len(sides.waves) == 2 else ["both"])
    axes.spines[["top", "right", "left"]].set_visible(False)
