"""A few of the troubled calls of `make bench-trouble`, on stubs: the bench runs, and these hold."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from antiphon_bench.trouble.case import CATALOGUE
from antiphon_cli.trouble.__main__ import chosen, measure, read

# Short ones of several kinds.
SMOKE = (
    "lost_stretch",
    "frames_of_other_kinds",
    "next_question_after_barge_in",
    "empty_answer",
    "tool_answers",
    "hang_up_before_ready",
)


@pytest.mark.slow
def test_some_troubled_calls_hold(tmp_path: Path) -> None:
    options = read(["--output", str(tmp_path), "--only", *SMOKE, "--jobs", "3", "--patience", "5"])
    rows = asyncio.run(measure(options, [CATALOGUE[name] for name in SMOKE], Console(file=io.StringIO())))
    assert {row.case.name: row.verdict.reasons for row in rows} == {name: [] for name in SMOKE}


@pytest.mark.slow
def test_random_troubles_run_and_are_judged(tmp_path: Path) -> None:
    options = read(["--output", str(tmp_path), "--random", "1", "--seed", "1", "--jobs", "1"])
    rows = asyncio.run(measure(options, chosen(options), Console(file=io.StringIO())))
    assert [row.case.name for row in rows] == ["random_1_0"]
    assert all(row.calls for row in rows), [row.verdict.reasons for row in rows]


def test_a_name_or_a_kind_chooses_cases() -> None:
    assert {case.name for case in chosen(read(["--only", "mute_after_words"]))} == {"mute_after_words"}
    assert {case.kind for case in chosen(read(["--only", "echo", "--stack", "real"]))} >= {"echo"}
    assert len(chosen(read([]))) == len(CATALOGUE)
