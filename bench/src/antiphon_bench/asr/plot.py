"""Finalize times against callers, for each context and engine."""

from collections.abc import Sequence
from pathlib import Path

from .capacity import Row


def plot(rows: Sequence[Row], title: str, limit_ms: float, path: Path) -> None:
    """Writes a PNG: p50 and p99 of the finalize by callers, a panel for each context, and the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    contexts = sorted({row.context_ms for row in rows})
    figure, axes = pyplot.subplots(
        1, len(contexts), figsize=(3.2 * len(contexts), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, context_ms in zip(axes[0], contexts, strict=True):
        for engine, color in (("ours", "tab:blue"), ("seed", "tab:orange")):
            of_engine = [row for row in rows if (row.engine, row.context_ms) == (engine, context_ms)]
            of_engine.sort(key=lambda row: row.level.streams)
            for name, style in (("p50_ms", ":"), ("p99_ms", "-")):
                points = [(row.level.streams, getattr(row.level.final, name)) for row in of_engine]
                shown = [(streams, value) for streams, value in points if value is not None]
                if shown:
                    axis.plot(
                        *zip(*shown, strict=True), style, marker="o", ms=3, color=color, label=f"{engine} {name[:3]}"
                    )
        axis.axhline(limit_ms, color="gray", lw=0.8)
        axis.set(xscale="log", yscale="log", xlabel="callers in real time", title=f"context {context_ms} ms")
        axis.set_xscale("log", base=2)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("finalize, request to final (ms)")
    handles = {label: line for axis in axes[0] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[0][0].legend(handles.values(), handles.keys(), fontsize=7)
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
