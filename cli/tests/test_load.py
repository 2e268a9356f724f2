"""`antiphon load` as it is typed, against an agent of known latency."""

import asyncio
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench.testing import Manner, answering, tone

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "said"
    made.mkdir()
    sf.write(made / "question.wav", np.concatenate([tone(0.5, 16_000), np.zeros(800, np.float32)]), 16_000)
    return made


async def run(url: str, folder: Path, output: Path, *options: str) -> tuple[int, str, str]:
    files = ["--questions", str(folder), "--json", str(output / "load.json"), "--html", str(output / "load.html")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "antiphon_cli", "load", url, *files, "--timeout", "2", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, complaints = await process.communicate()
    return process.returncode or 0, told.decode(), complaints.decode()


async def test_a_load_leaves_its_line_every_turn_and_a_page(folder: Path, tmp_path: Path) -> None:
    async with answering(Manner(delay_s=0.4, answer_s=0.3)) as agent:
        code, told, _ = await run(agent.url, folder, tmp_path, "-n", "2", "--turns", "2", "--over", "0.5")
    assert code == 0
    assert told.splitlines()[-1].startswith("BENCH load callers=2 turns=4 good=4 ")
    content = json.loads((tmp_path / "load.json").read_text())
    assert content["plan"]["files"] == ["question.wav"] and content["plan"]["token"] is None
    (level,) = content["levels"]
    assert [turn["outcome"] for turn in level["turns"]] == ["answered"] * 4
    page = (tmp_path / "load.html").read_text()
    assert page.count("<svg") == 3 and not re.search(r"(src|href)=.?http", page)


async def test_a_knee_is_the_largest_number_that_keeps_the_goal(folder: Path, tmp_path: Path) -> None:
    async with answering(Manner(delay_s=0.4, answer_s=0.3)) as agent:
        options = ("-n", "1", "--turns", "1", "--over", "0", "--knee", "--most", "2", "--cores", "2")
        code, told, _ = await run(agent.url, folder, tmp_path, *options)
    assert code == 0 and "knee=2" in told.splitlines()[-1] and "1.0 a core or GPU of 2" in told


async def test_a_goal_that_is_missed_is_an_exit_code_of_1(folder: Path, tmp_path: Path) -> None:
    async with answering(Manner(silent=True)) as agent:
        code, told, _ = await run(agent.url, folder, tmp_path, "-n", "1", "--turns", "1")
    assert code == 1 and "unanswered 1" in told


async def test_a_folder_without_anything_to_say_is_named(tmp_path: Path) -> None:
    code, _, complaints = await run("ws://127.0.0.1:9/ws", tmp_path, tmp_path)
    assert code == 2 and "has no WAV file" in complaints.replace("\n", " ")
