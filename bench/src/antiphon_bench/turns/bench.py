"""`python -m antiphon_bench.turns.bench`: false cut-offs and dead air of each turn policy, on a self-made set.

The set is spoken by the laptop's voice and heard by the turn service and the recognizer; then every policy is replayed
over what they said. Settings are chosen on one half (its own voices, its own sentences) and scored on the other.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from antiphon_orchestrator.turns.barge_in import BargeIn

from ..machine import load_average, machine
from ..process import running
from . import overlaps
from .answering import Cost, cost
from .importing import imported
from .listening import Heard, heard
from .overlaps import BargeInScore, Spoken
from .scoring import SHIPPED, Ended, Score, Setting, chosen, ended, score
from .utterances import made

PARTS = ("tuned", "scored")
BUDGETS_MS = (300.0, 600.0)
CUT_OFFS = 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """A policy under one goal: the setting that was chosen for it, and what that did on the scored half."""

    policy: str
    goal: str
    setting: Setting
    score: Score
    cost: Cost
    turns: tuple[Ended, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "goal": self.goal,
            "setting": {"complete_at": self.setting.complete_at, **asdict(self.setting.policy)},  # type: ignore[call-overload]
            "score": asdict(self.score),
            "cost": asdict(self.cost),
            "turns": {turn.name: [turn.dead_air_ms and round(turn.dead_air_ms), turn.reason] for turn in self.turns},
        }


async def listen(options: argparse.Namespace) -> list[Heard]:
    """At most `most` utterances of each half, made or imported, and heard.

    Raises NotReady when a service does not start, ImportProblem for a folder that cannot be used.
    """
    most = options.most
    given = imported(options.imported, most, options.language) if options.imported else []
    async with running("tts", "hibari", {}, options.output / "tts.log") as voice:
        parts = PARTS[:1] if given else PARTS
        utterances = [utterance for part in parts for utterance in await made(voice.target, part, most)] + given
    async with _ears(options) as (turn, asr):
        return await heard(turn, asr, utterances)


async def listen_to_overlaps(options: argparse.Namespace) -> list[Spoken]:
    """What is said over the agent. Raises NotReady when a service does not start."""
    async with running("tts", "hibari", {}, options.output / "tts.log") as voice:
        utterances = (await overlaps.made(voice.target))[: options.overlaps]
    async with _ears(options) as (turn, asr):
        return await overlaps.heard(turn, asr, utterances)


@asynccontextmanager
async def _ears(options: argparse.Namespace) -> AsyncIterator[tuple[str, str]]:
    """The turn service and the recognizer, where they are."""
    async with (
        running("turn", "smart-turn", {}, options.output / "turn.log") as turn,
        running("asr", options.asr, {"SLOTS": "8"}, options.output / "asr.log") as recognizer,
    ):
        yield turn.target, recognizer.target


def compare(found: Sequence[Heard]) -> list[Row]:
    """Every policy as shipped, and at its best for each goal."""
    tuned, scored = ([each for each in found if each.part == part] for part in PARTS)
    rows = []
    for name, shipped in SHIPPED.items():
        goals = {"shipped": shipped}
        for budget_ms in BUDGETS_MS:
            goals[f"{budget_ms:.0f} ms"] = chosen(name, tuned, "dead_air_ms", budget_ms, "cut_off")
        goals[f"{CUT_OFFS:.0%} cut off"] = chosen(name, tuned, "cut_off", CUT_OFFS, "dead_air_ms")
        for goal, setting in goals.items():
            turns = tuple(ended(each, setting) for each in scored)
            rows.append(Row(name, goal, setting, score(turns), cost(scored, setting), turns))
    return rows


def table(rows: Sequence[Row]) -> Table:
    """The scored half's figures, each with its 95 % interval."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("policy", "chosen for"):
        drawn.add_column(name)
    for name in ("cut off", "95 %", "dead air", "95 % ", "LLM calls", "drops"):
        drawn.add_column(name, justify="right")
    for row in rows:
        low, high = row.score.cut_off_interval
        sooner, later = row.score.dead_air_interval
        drawn.add_row(
            row.policy,
            row.goal,
            f"{row.score.cut_off:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row.score.dead_air_ms:.0f} ms",
            f"{sooner:.0f} to {later:.0f}",
            f"{row.cost.calls_per_turn:.2f}",
            f"{row.cost.drops_per_turn:.2f}",
        )
    return drawn


def overlap_line(told: BargeInScore, count: int) -> str:
    """In words: how barge-ins were told from the rest."""
    missed, wrong = (f"{low:.0%} to {high:.0%}" for low, high in (told.missed_interval, told.false_stops_interval))
    return (
        f"{count} overlaps: {told.missed:.1%} of the interruptions missed ({missed}), {told.false_stops:.1%} of the "
        f"rest stopped the agent ({wrong}); stopped {told.stop_ms or 0:.0f} ms after speech began, at the median"
    )


def headline(rows: Sequence[Row], told: BargeInScore) -> str:
    """The line that the bench ends with."""
    figures: dict[str, Any] = {"scored": len(rows[0].turns)}
    for row in rows:
        name = f"{row.policy}_{row.goal}".replace(" ", "_").replace("%", "").replace("-", "_")
        figures[f"{name}_cut"] = round(row.score.cut_off, 3)
        figures[f"{name}_ms"] = round(row.score.dead_air_ms)
        if row.goal == "shipped":
            figures[f"{name}_calls"] = round(row.cost.calls_per_turn, 2)
            figures[f"{name}_drops"] = round(row.cost.drops_per_turn, 2)
    figures |= {"missed_barge_ins": round(told.missed, 3), "false_barge_ins": round(told.false_stops, 3)}
    figures |= {"stop_ms": told.stop_ms and round(told.stop_ms), "load": load_average()}
    return " ".join(["BENCH turns", *(f"{key}={value}" for key, value in figures.items())])


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=160, help="utterances of each half")
    parser.add_argument("--asr", default="moonshine", help="backend of speech recognition")
    parser.add_argument("--replay", type=Path, help="an earlier run's turns.json: scores again what was heard then")
    parser.add_argument("--overlaps", type=int, default=200, help="utterances over the agent's speech")
    parser.add_argument(
        "--import", dest="imported", type=Path, help="folder of a public end-of-turn set to score instead of our own"
    )
    parser.add_argument("--language", default="", help="of the imported rows, such as en")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--publish", type=Path, help="folder for the raw rows to be kept in as well")
    return parser.parse_args(arguments)


def main() -> None:
    options = read()
    options.output.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(options.replay.read_text()) if options.replay else {}
    found = [Heard.from_json(each) for each in earlier.get("heard", [])] or asyncio.run(listen(options))
    over = [Spoken.from_json(each) for each in earlier.get("overlaps", [])] or asyncio.run(listen_to_overlaps(options))
    rows, told = compare(found), overlaps.score(over, BargeIn())
    content = {
        "bench": "turns",
        "machine": machine(),
        "asr": options.asr,
        "rows": [row.to_json() for row in rows],
        "heard": [each.to_json() for each in found],
        "barge_in": asdict(told),
        "overlaps": [each.to_json() for each in over],
    }
    # What is published is of our own set.
    publish = None if options.imported else options.publish
    for folder, name in ((options.output, "turns.json"), (publish, "turns-cpu.json")):
        if folder:
            (folder / name).write_text(json.dumps(content) + "\n")
    Console().print(table(rows))
    print(overlap_line(told, len(over)))
    print(headline(rows, told))


if __name__ == "__main__":
    main()
