"""Benches of the whole platform: raw rows in out/bench/NAME.json, headline figures in one BENCH line."""

import asyncio
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from antiphon_bench import questions
from antiphon_bench.call import CallTurn
from antiphon_bench.caller import place_call
from antiphon_bench.machine import machine

from .platform import Plan, free_ports
from .supervisor import running

Rows = list[dict[str, Any]]


async def v2v_rows(models: str, models_dir: Path, calls: int, note: Callable[[str], None]) -> Rows:
    """One row a turn: the bundled questions, asked in `calls` calls of a platform of their own."""
    rows: Rows = []
    plan = Plan(models=models, models_dir=models_dir, ports=free_ports(), metrics=False)
    async with running(plan, lambda _name, _line: None) as pids:
        for number in range(calls):
            made = await place_call(plan.call_url, questions())
            rows += [_row(number, turn, made.line.late_ms) for turn in made.turns]
            note(f"call {number + 1} of {calls}: load {os.getloadavg()[0]:.2f}")
        rows.append({"pss_mb": {name: _pss_mb(pid) for name, pid in pids.items()}})
    return rows


def _row(call: int, turn: CallTurn, late_ms: float) -> dict[str, Any]:
    row = {key: value for key, value in asdict(turn).items() if key not in ("file", "spans", "turn_ids", "reports")}
    return {"call": call, "load": os.getloadavg()[0], "caller_late_ms": late_ms, **row}


def _pss_mb(pid: int) -> float | None:
    """The process's proportional share of memory, where the system tells."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def headline(name: str, rows: Rows) -> str:
    """The line that a bench ends with."""
    turns = [row for row in rows if "outcome" in row]
    figures: dict[str, Any] = {
        "turns": len(turns),
        "answered": sum(row["outcome"] == "answered" for row in turns),
    }
    for key, short in (("heard_v2v_ms", "heard"), ("v2v_ms", "server")):
        values = [row[key] for row in turns if row[key] is not None]
        if values:
            figures[f"{short}_p50_ms"] = round(statistics.median(values))
            figures[f"{short}_max_ms"] = round(max(values))
    for stage in ("pause", "verdict", "transcript", "llm", "clause", "tts", "transport"):
        values = [one["end_ms"] - one["start_ms"] for row in turns for one in row["stages"] if one["name"] == stage]
        if values:
            figures[f"{stage}_p50_ms"] = round(statistics.median(values), 1)
    memory = [value for row in rows for value in row.get("pss_mb", {}).values() if value]
    figures["pss_mb"] = round(sum(memory)) if memory else None
    figures["load"] = round(statistics.mean(row["load"] for row in turns), 2) if turns else None
    return " ".join(["BENCH", name, *(f"{key}={value}" for key, value in figures.items())])


def run_v2v(name: str, models: str, models_dir: Path, calls: int, folder: Path, note: Callable[[str], None]) -> str:
    """Runs the bench, writes its rows, and gives the headline."""
    rows = asyncio.run(v2v_rows(models, models_dir, calls, note))
    folder.mkdir(parents=True, exist_ok=True)
    content = {"bench": name, "machine": machine(), "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return headline(name, rows)
