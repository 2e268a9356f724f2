"""`python -m antiphon_cli.conversation.bench`: what the conversation costs and gains, beside a plain Pipecat bot.

One call of each side after the other on the same stubs, profile by profile; then how many calls each side's process
holds on one core.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from antiphon_bench.call import CallTurn
from antiphon_bench.caller import place_call
from antiphon_bench.machine import machine

from ..supervisor import supervised
from .capacity import capacity
from .report import calls_table, capacity_table, headline, held_table
from .sides import PLAIN, PROFILES, QUESTION, SIDES, bench

TURNS_A_CALL = 10
Row = dict[str, Any]
Note = Callable[[str], None]


async def talk(profile: str, turns: int, note: Note) -> list[Row]:
    """One row a turn, of each side as many."""
    rows: list[Row] = []
    with TemporaryDirectory(prefix="antiphon-") as folder:
        at = bench(profile, Path(folder))
        async with supervised(at.processes, lambda *_: None):
            for begun in range(0, turns, TURNS_A_CALL):
                for side in SIDES:
                    call = await place_call(at.urls[side], [QUESTION] * min(TURNS_A_CALL, turns - begun))
                    rows += [_row(profile, side, turn, call.line.late_ms) for turn in call.turns]
                note(f"{profile}: {min(turns, begun + TURNS_A_CALL)} of {turns} turns a side")
    return rows


def _row(profile: str, side: str, turn: CallTurn, late_ms: float) -> Row:
    reports = turn.reports or ({},)
    last = reports[-1]
    return {
        "profile": profile,
        "side": side,
        "outcome": turn.outcome,
        "v2v_ms": turn.v2v_ms,
        "heard_v2v_ms": turn.heard_v2v_ms,
        "llm_calls": sum(report.get("llm_calls", 0) for report in reports),
        # A plain bot does not know of any.
        "dropped": None if side == PLAIN else sum(report.get("dropped", 0) for report in reports),
        "speculated": last.get("speculated", False),
        "commit_reason": last.get("commit_reason", ""),
        "held_for": last.get("held_for", ""),
        "stages": {stage.name: round(stage.end_ms - stage.start_ms, 1) for stage in turn.stages},
        "caller_late_ms": late_ms,
        "load": os.getloadavg()[0],
    }


async def measure(options: argparse.Namespace, note: Note) -> dict[str, Any]:
    rows: list[Row] = []
    for number, profile in enumerate(options.profiles):
        rows += await talk(profile, options.turns if number == 0 else options.more_turns, note)
    crowds = [] if options.sessions == [] else await capacity(options.sessions, options.step_turns, note)
    return {"bench": "conversation", "machine": machine(), "turns": rows, "capacity": crowds}


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--turns", type=int, default=200, help="of each side with the first profile")
    parser.add_argument("--more-turns", type=int, default=30, help="with each of the others")
    parser.add_argument(
        "--sessions",
        type=int,
        nargs="*",
        default=[1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 25, 30, 40],
        help="how many at once on one core; none: leaves the second table out",
    )
    parser.add_argument("--step-turns", type=int, default=40, help="of all sessions of a step together, at least")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--publish", type=Path, help="folder for the raw rows to be kept in as well")
    return parser.parse_args(arguments)


def main() -> None:
    options = read()
    console = Console(stderr=True)
    content = asyncio.run(measure(options, lambda text: console.print(text, style="dim")))
    options.output.mkdir(parents=True, exist_ok=True)
    for folder in filter(None, (options.output, options.publish)):
        (folder / "conversation.json").write_text(json.dumps(content) + "\n")
    shown = Console()
    shown.print(calls_table(content["turns"]))
    shown.print(held_table(content["turns"]))
    if content["capacity"]:
        shown.print(capacity_table(content["capacity"]))
    print(headline(content))


if __name__ == "__main__":
    main()
