"""Long recordings cost the event loop and memory nothing; killed processes leave files that can be played."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon_bench.testing.soak import counted
from antiphon_cli import recording_bench as bench

KILLS = counted(full=dict.fromkeys(bench.FORMATS, 20), reduced={"wav": 20, "flac": 4, "opus": 4})
LATEST_KILL_S = counted(full=bench.LATEST_KILL_S, reduced=4.0)
# Kills so early cannot lose the 5 s that are allowed: 2 s are held back, and each 0.25 s is written at its end.
MOST_LOST_S = 3.5


@pytest.mark.parametrize("format", bench.FORMATS)
def test_killed_processes_leave_all_but_the_last_seconds(format: str, tmp_path: Path) -> None:
    rows = bench.killed(format, KILLS[format], tmp_path / "calls", LATEST_KILL_S)
    assert len(rows) == KILLS[format] and not bench.broken([], rows)
    assert max(row["lost_s"] for row in rows) <= MOST_LOST_S, rows


def test_a_long_call_neither_stalls_the_loop_nor_grows(tmp_path: Path) -> None:
    minutes = 10.0
    # A process of its own: a collection of the garbage of a whole test run would be the loop's work as well.
    command = [sys.executable, "-m", bench.__name__, "--format", "wav", "--kills", "0", "--minutes", str(minutes)]
    subprocess.run([*command, "--output", str(tmp_path)], check=False, timeout=300)
    (row,) = json.loads((tmp_path / "recording.json").read_text())["hours"]
    assert not row["errors"] and row["recorded_s"] == pytest.approx(60 * minutes + bench.LEAD_IN_S, abs=0.1)
    # How late others let the loop run is the bench's to say, on an idle machine: its exit code is not looked at.
    assert row["loop_busy_ms"] < bench.MOST_STALL_MS
    assert row["memory_growth_kib"] < bench.MOST_GROWTH_KIB


def test_a_bound_that_does_not_hold_is_named() -> None:
    hour = {
        "format": "wav",
        "minutes": 60.0,
        "loop_stall_ms": 1.0,
        "memory_growth_kib": 10,
        "errors": [],
        "recorded_s": 3600.25,
    }
    kill = {"format": "wav", "ran_s": 9.0, "left_s": 7.0, "lost_s": 2.0, "playable": True}
    assert bench.broken([hour], [kill]) == []
    for name, value in {
        "loop_stall_ms": 21.0,
        "memory_growth_kib": 9000,
        "errors": ["full"],
        "recorded_s": 3590.0,
    }.items():
        assert len(bench.broken([hour | {name: value}], [])) == 1
    for name, value in {"lost_s": 5.1, "playable": False}.items():
        assert len(bench.broken([], [kill | {name: value}])) == 1
