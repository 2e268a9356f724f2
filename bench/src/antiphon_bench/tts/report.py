"""The tables: the seed's columns, and what it left out."""

from collections.abc import Sequence
from typing import Any

from .load import Level

COLUMNS = ("side", "mode", "callers", "min", "p50", "p90", "p95", "p99", "max", "mean", "audio s/s", "dry", "load")


def table(levels: Sequence[Level]) -> str:
    """Markdown; times to first audio in ms."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for level in levels:
        ttfb = level.ttfb
        times = (ttfb.min, ttfb.p50, ttfb.p90, ttfb.p95, ttfb.p99, ttfb.max, ttfb.mean)
        callers = f"{level.rate:g}/s" if level.rate else str(level.callers)
        cells = [level.side, level.mode, callers, *map(_ms, times), f"{level.audio_rate:.1f}", str(level.dry)]
        lines.append("| " + " | ".join([*cells, str(level.load)]) + " |")
    return "\n".join(lines)


def quality_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| codec | frames back | ahead | SNR dB | largest error | jump | steps |", "|" + "---|" * 7]
    for row in rows:
        small = " | ".join(f"{row[name]:.1e}" for name in ("largest_error", "jump", "steps"))
        lines.append(f"| {row['codec']} | {row['back']} | {row['ahead']} | {row['snr_db']:.1f} | {small} |")
    return "\n".join(lines)


def ratio(levels: Sequence[Level], over: dict[str, Any], under: dict[str, Any], name: str = "mean") -> float | None:
    """A figure of the level that has the fields `over`, divided by that of the one that has `under`."""
    values = [getattr(level.ttfb, name) for fields in (over, under) if (level := _one(levels, fields))]
    if len(values) < 2 or None in values:
        return None
    return round(float(values[0] / values[1]), 2)


def _one(levels: Sequence[Level], fields: dict[str, Any]) -> Level | None:
    return next((one for one in levels if all(getattr(one, name) == value for name, value in fields.items())), None)


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f}"
