"""How many conversations one core holds."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from antiphon_bench.stats import Latencies, ranked_at, summarise

from ..supervisor import supervised
from .crowd import crowd
from .sides import ON, PLAIN, QUESTION, bench

# The stubs' latencies are drawn by a turn's number: calls compare when they have the same turns.
TURNS_A_CALL = 10
# Before anything is measured: what a process does only once would pass for a turn's length.
TURNS_TO_WARM = 3
# What else runs on the machine can spoil a step.
TRIES = 2
# A step is held when its 95th percentile is within this of one session's, and every turn was answered.
HELD_WITHIN = 1.25
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

Row = dict[str, Any]
Note = Callable[[str], None]


async def capacity(sessions: Sequence[int], turns: int, note: Note) -> list[Row]:
    """A row for each side, number of sessions and try, up to the first number that the side does not hold.

    The side has the first core to itself; stubs and callers share the others. Profile `rtx5090`. Calls have ten turns
    or `turns`; a step has as many rounds of them as give `turns` in all, so that the 95th percentile of one session,
    which judges the others, is not its slowest turn.
    """
    cores = sorted(os.sched_getaffinity(0))
    rows: list[Row] = []
    with TemporaryDirectory(prefix="antiphon-") as folder:
        at = bench("rtx5090", Path(folder))
        async with supervised(at.processes, lambda *_: None) as pids:
            for name, pid in {**pids, "callers": os.getpid()}.items():
                _pin(pid, cores[:1] if name in (ON, PLAIN) else cores[1:] or cores)
            try:
                for side in (ON, PLAIN):
                    await crowd(at.urls[side], QUESTION, 1, TURNS_TO_WARM)
                    rows += await _climb(side, at.urls[side], pids[side], sessions, turns, note)
            finally:
                _pin(os.getpid(), cores)
    return rows


async def _climb(side: str, url: str, pid: int, sessions: Sequence[int], turns: int, note: Note) -> list[Row]:
    rows: list[Row] = []
    for count in sessions:
        for _ in range(TRIES):
            row, told = await _step(url, pid, count, turns)
            alone_ms = rows[0]["p95_ms"] if rows else told.p95_ms
            rows.append({"side": side, **row, "held": _held(told, alone_ms)})
            note(f"{side}: {count} sessions, p95 {told.p95_ms or 0:.0f} ms, {row['cpu']:.0%} of a core")
            await asyncio.sleep(1.0)  # the calls before end in peace
            if rows[-1]["held"]:
                break
        if not rows[-1]["held"]:
            break
    return rows


async def _step(url: str, pid: int, count: int, turns: int) -> tuple[Row, Latencies]:
    v2v_ms: list[float | None] = []
    late_ms: list[float] = []
    began_s, used_s, busy_s = time.monotonic(), cpu_s(pid), _core_s(pid)
    while len(v2v_ms) < turns:
        heard = await crowd(url, QUESTION, count, min(turns, TURNS_A_CALL))
        v2v_ms += heard.v2v_ms
        late_ms += heard.late_ms
    took_s = time.monotonic() - began_s
    cpu = (cpu_s(pid) - used_s) / took_s
    told = summarise(v2v_ms)
    row = {
        "sessions": count,
        "p50_ms": told.p50_ms,
        "p95_ms": told.p95_ms,
        "unanswered": told.missing,
        "cpu": round(cpu, 3),
        "others_cpu": round(max(0.0, (_core_s(pid) - busy_s) / took_s - cpu), 3),
        "callers_late_p99_ms": ranked_at(late_ms, 0.99),
        "v2v_ms": v2v_ms,
    }
    return row, told


def _held(told: Latencies, alone_ms: float | None) -> bool:
    """None is the 95th percentile of a step whose slowest turns had no answer."""
    if told.missing or told.p95_ms is None or alone_ms is None:
        return False
    return told.p95_ms <= HELD_WITHIN * alone_ms


def _pin(pid: int, cores: Sequence[int]) -> None:
    """All of the process's threads; those it will have, too."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def cpu_s(pid: int) -> float:
    """What the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def _core_s(pid: int) -> float:
    """What anybody has used of the cores that the process may run on, and what was stolen from them."""
    names = {f"cpu{core}" for core in os.sched_getaffinity(pid)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    # user nice system idle iowait irq softirq steal; the guests' are in user already.
    used = (sum(map(int, (*line[1:4], *line[6:9]))) for line in lines if line[0] in names)
    return sum(used) / TICKS_A_SECOND
