"""The bench's tables, and its last line."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from antiphon_bench.machine import load_average
from antiphon_bench.stats import Latencies, summarise

from .sides import OFF, ON, PAUSE_MS, PLAIN, SIDES, injected_ms

Rows = Sequence[dict[str, Any]]
NAMES = {OFF: "ours, no speculation", ON: "ours", PLAIN: "plain Pipecat"}


def of(rows: Rows, profile: str, side: str) -> Rows:
    return [row for row in rows if (row["profile"], row["side"]) == (profile, side)]


def answered_ms(rows: Rows, key: str) -> list[float | None]:
    """One figure a turn, None where there was no answer."""
    return [row[key] if row["outcome"] == "answered" else None for row in rows]


def told(latencies: Latencies) -> str:
    figures = (latencies.p50_ms, latencies.p95_ms, latencies.p99_ms, latencies.max_ms)
    return "/".join("–" if one is None else f"{one:.0f}" for one in figures)


def calls_table(rows: Rows) -> Table:
    drawn = Table(title="One call at a time; ms, p50/p95/p99/max", box=None, header_style="bold")
    for name in ("profile", "side"):
        drawn.add_column(name)
    for name in ("server", "as heard", "unanswered", "LLM calls", "drops", "held", "overhead"):
        drawn.add_column(name, justify="right")
    for profile in dict.fromkeys(row["profile"] for row in rows):
        for side in SIDES:
            chosen = of(rows, profile, side)
            server = summarise(answered_ms(chosen, "v2v_ms"))
            drawn.add_row(
                profile,
                NAMES[side],
                told(server),
                told(summarise(answered_ms(chosen, "heard_v2v_ms"))),
                f"{server.missing / len(chosen):.1%}",
                f"{mean(chosen, 'llm_calls'):.2f}",
                "–" if side == PLAIN else f"{mean(chosen, 'dropped'):.2f}",
                str(len(held_open(chosen))),
                "–" if server.p50_ms is None else f"{server.p50_ms - injected_ms(profile, side):+.0f}",
            )
    return drawn


def held_open(rows: Rows) -> Rows:
    """The turns that the policy kept open for their words or their sound: their length is its doing."""
    return [row for row in rows if row["held_for"]]


def held_table(rows: Rows) -> Table:
    """Each of them. Without one it has no row."""
    drawn = Table(title="Turns that were held open", box=None, header_style="bold")
    for name in ("profile", "side", "held for", "committed for"):
        drawn.add_column(name)
    for name in ("server ms", "as heard ms"):
        drawn.add_column(name, justify="right")
    for row in held_open(rows):
        figures = ("–" if row[key] is None else f"{row[key]:.0f}" for key in ("v2v_ms", "heard_v2v_ms"))
        drawn.add_row(row["profile"], NAMES[row["side"]], row["held_for"], row["commit_reason"], *figures)
    return drawn


def tail(rows: Rows) -> float | None:
    """The 99th percentile over the median, of the turns that were not held open."""
    figures = summarise(answered_ms([row for row in rows if not row["held_for"]], "v2v_ms"))
    return None if figures.p99_ms is None or not figures.p50_ms else figures.p99_ms / figures.p50_ms


def mean(rows: Rows, key: str) -> float:
    return statistics.mean(float(row[key]) for row in rows)


def capacity_table(rows: Rows) -> Table:
    drawn = Table(title="Calls on one core, rtx5090", box=None, header_style="bold")
    drawn.add_column("side")
    for name in ("sessions", "p50 ms", "p95 ms", "unanswered", "CPU", "CPU each", "others", "callers late", "held"):
        drawn.add_column(name, justify="right")
    for row in rows:
        figures = ("–" if row[key] is None else f"{row[key]:.0f}" for key in ("p50_ms", "p95_ms"))
        shares = (f"{share:.0%}" for share in (row["cpu"], row["cpu"] / row["sessions"], row["others_cpu"]))
        drawn.add_row(
            *(NAMES[row["side"]], str(row["sessions"]), *figures, str(row["unanswered"]), *shares),
            *(f"{row['callers_late_p99_ms']:.0f}", "yes" if row["held"] else "no"),
        )
    return drawn


def most_held(rows: Rows, side: str) -> int:
    return max((row["sessions"] for row in rows if row["side"] == side and row["held"]), default=0)


def headline(content: dict[str, Any]) -> str:
    """The line that the bench ends with."""
    rows, crowds = content["turns"], content["capacity"]
    figures: dict[str, Any] = {}
    for profile in dict.fromkeys(row["profile"] for row in rows):
        figures |= {f"{profile}_{key}".replace("-", "_"): value for key, value in _profile(rows, profile).items()}
        if profile == "zero":
            quick = summarise(answered_ms(of(rows, profile, ON), "v2v_ms"))
            figures |= {"overhead_p50": _less(quick.p50_ms), "overhead_p99": _less(quick.p99_ms)}
    if crowds:
        ours, plain = most_held(crowds, ON), most_held(crowds, PLAIN)
        figures |= {"sessions_ours": ours, "sessions_plain": plain, "sessions_ratio": ours / plain if plain else None}
    figures["load"] = load_average()
    return " ".join(["BENCH conversation", *(f"{key}={_short(value)}" for key, value in figures.items())])


def _profile(rows: Rows, profile: str) -> dict[str, Any]:
    """A profile's figures: of each side, and ours over the plain bot's, by the clock of each and as heard."""
    figures: dict[str, Any] = {}
    medians: dict[tuple[str, str], float | None] = {}
    for side in SIDES:
        chosen = of(rows, profile, side)
        server, heard = (summarise(answered_ms(chosen, key)) for key in ("v2v_ms", "heard_v2v_ms"))
        medians |= {(side, "ratio"): server.p50_ms, (side, "heard_ratio"): heard.p50_ms}
        figures |= {f"{side}_p50": server.p50_ms, f"{side}_p99": server.p99_ms, f"{side}_heard": heard.p50_ms}
        figures |= {f"{side}_unanswered": server.missing, f"{side}_calls": mean(chosen, "llm_calls")}
        if side != PLAIN:
            figures |= {f"{side}_tail": tail(chosen), f"{side}_held": len(held_open(chosen))}
    for key in ("ratio", "heard_ratio"):
        ours, plain = medians[ON, key], medians[PLAIN, key]
        figures[key] = ours / plain if ours and plain else None
    return figures


def _less(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms - PAUSE_MS


def _short(value: Any) -> Any:
    return round(value, None if abs(value) >= 10 else 2) if isinstance(value, float) else value
