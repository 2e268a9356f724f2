"""A few of the troubled calls of `make bench-trouble`, on stubs: the bench runs, and these hold."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from antiphon_bench.testing.soak import counted
from antiphon_bench.trouble.case import CATALOGUE
from antiphon_cli.trouble.__main__ import chosen, measure, read

# Short ones of several kinds.
SMOKE = (
    "mute_after_words",
    "dtx_comfort_noise",
    "lost_stretch",
    "frames_of_other_kinds",
    "next_question_after_barge_in",
    "empty_answer",
    "forged_tool_result",
    "tool_answers",
    "idle_without_greeting",
    "hang_up_before_ready",
)
RANDOM = counted(full=20, reduced=0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_some_troubled_calls_hold(tmp_path: Path) -> None:
    options = read(["--output", str(tmp_path), "--only", *SMOKE, "--jobs", "5", "--patience", "5"])
    rows = asyncio.run(measure(options, [CATALOGUE[name] for name in SMOKE], Console(file=io.StringIO())))
    assert {row.case.name: row.verdict.reasons for row in rows} == {name: [] for name in SMOKE}
    assert all(row.ran for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * RANDOM)
@pytest.mark.skipif(not RANDOM, reason="only `make soak` runs random combinations")
def test_random_troubles_hold(tmp_path: Path) -> None:
    options = read(
        ["--output", str(tmp_path), "--random", str(RANDOM), "--seed", "1", "--jobs", "2", "--patience", "2"]
    )
    rows = asyncio.run(measure(options, chosen(options), Console(file=io.StringIO())))
    assert {row.case.name: row.verdict.reasons for row in rows} == {f"random_1_{n}": [] for n in range(RANDOM)}
    assert all(row.ran and row.calls for row in rows)


def test_a_name_or_a_kind_chooses_cases() -> None:
    assert {case.name for case in chosen(read(["--only", "mute_after_words"]))} == {"mute_after_words"}
    assert {case.kind for case in chosen(read(["--only", "echo", "--stack", "real"]))} >= {"echo"}
    assert len(chosen(read([]))) == len(CATALOGUE)
