"""`python -m antiphon_bench.turns.bench`: false cut-offs and dead air of each turn policy, on a self-made set.

The set is spoken by the laptop's voice and heard by the turn service and the recognizer; then every policy is replayed
over what they said. Settings are chosen on one half (its own voices, its own sentences) and scored on the other.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..machine import load_average, machine
from ..process import running
from .listening import Heard, heard
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
    turns: tuple[Ended, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "goal": self.goal,
            "setting": {"complete_at": self.setting.complete_at, **asdict(self.setting.policy)},  # type: ignore[call-overload]
            "score": asdict(self.score),
            "turns": {turn.name: [turn.dead_air_ms and round(turn.dead_air_ms), turn.reason] for turn in self.turns},
        }


async def listen(most: int, asr: str, output: Path) -> list[Heard]:
    """At most `most` utterances of each half, made and heard. Raises NotReady when a service does not start."""
    async with running("tts", "hibari", {}, output / "tts.log") as voice:
        utterances = [utterance for part in PARTS for utterance in await made(voice.target, part, most)]
    async with (
        running("turn", "smart-turn", {}, output / "turn.log") as turn,
        running("asr", asr, {"SLOTS": "8"}, output / "asr.log") as recognizer,
    ):
        return await heard(turn.target, recognizer.target, utterances)


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
            rows.append(Row(name, goal, setting, score(turns), turns))
    return rows


def table(rows: Sequence[Row]) -> Table:
    """The scored half's figures, each with its 95 % interval."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("policy", "chosen for"):
        drawn.add_column(name)
    for name in ("cut off", "95 %", "dead air", "95 % "):
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
        )
    return drawn


def headline(rows: Sequence[Row]) -> str:
    """The line that the bench ends with."""
    figures: dict[str, Any] = {"scored": len(rows[0].turns)}
    for row in rows:
        name = f"{row.policy}_{row.goal}".replace(" ", "_").replace("%", "").replace("-", "_")
        figures[f"{name}_cut"] = round(row.score.cut_off, 3)
        figures[f"{name}_ms"] = round(row.score.dead_air_ms)
    figures["load"] = load_average()
    return " ".join(["BENCH turns", *(f"{key}={value}" for key, value in figures.items())])


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=160, help="utterances of each half")
    parser.add_argument("--asr", default="moonshine", help="backend of speech recognition")
    parser.add_argument("--replay", type=Path, help="an earlier run's turns.json: scores again what was heard then")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--publish", type=Path, help="folder for the raw rows to be kept in as well")
    return parser.parse_args(arguments)


def main() -> None:
    options = read()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.replay:
        found = [Heard.from_json(each) for each in json.loads(options.replay.read_text())["heard"]]
    else:
        found = asyncio.run(listen(options.most, options.asr, options.output))
    rows = compare(found)
    content = {
        "bench": "turns",
        "machine": machine(),
        "asr": options.asr,
        "rows": [row.to_json() for row in rows],
        "heard": [each.to_json() for each in found],
    }
    for folder, name in ((options.output, "turns.json"), (options.publish, "turns-cpu.json")):
        if folder:
            (folder / name).write_text(json.dumps(content) + "\n")
    Console().print(table(rows))
    print(headline(rows))


if __name__ == "__main__":
    main()
