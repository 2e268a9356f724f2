"""What the bench of language models reckons, and that it hears what the services say."""

from argparse import ArgumentTypeError
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon_bench.checkpoint import random_checkpoint
from antiphon_bench.llm.bench import Duet, growth, read
from antiphon_bench.llm.duet import Reply, Sides, callers
from antiphon_bench.llm.report import duet_table, level_table
from antiphon_bench.llm.talk import QUESTIONS, Level, Turn, at_once, row
from antiphon_bench.process import running, setting

on_one_loop = pytest.mark.asyncio(loop_scope="module")
SCRIPT = "One two three four. Five six seven eight nine ten. Eleven twelve."


def turn(number: int, ttft_ms: float | None, *gaps_ms: float) -> Turn:
    return Turn(number, "text", ttft_ms, gaps_ms, 100, 90 if number else 0, 1 + len(gaps_ms))


def test_first_turns_are_cold_and_a_turn_without_an_answer_ranks_above_every_other() -> None:
    found = row(Level(2, (turn(0, 300.0, 20.0), turn(1, 100.0), turn(1, None), turn(2, 80.0, 30.0)), 2.0, 0.0))
    assert (found["cold_p50"], found["warm_p50"], found["warm_p95"]) == (300.0, 100.0, None)
    assert (found["token_p50"], found["cached"], found["tokens_per_s"]) == (20.0, 0.9, 3.0)
    assert level_table([found]).splitlines()[-1].startswith("| 2 | 300 | 300 | 300 | 100 | – |")


def test_growth_is_the_last_turn_over_the_second() -> None:
    talks = [Level(1, (turn(0, 9.0), turn(1, 100.0), turn(2, last)), 1.0, 0.0) for last in (90.0, 110.0, 500.0)]
    assert growth(talks) == 1.1
    assert growth([Level(1, (turn(0, 9.0), turn(1, None)), 1.0, 0.0)]) is None


def test_sooner_and_later_are_ratios_of_means() -> None:
    duet = Duet("v", 1, (Reply(300.0, 900.0, 1.0, ""), Reply(100.0, 1100.0, 1.0, "")), (Reply(100.0, 800.0, 1.0, ""),))
    assert (duet.ratio("first_ms"), duet.ratio("last_ms")) == (2.0, 1.25)
    assert duet_table([duet]).splitlines()[-1] == "| v | 1 | 200 | 100 | 2.00 | 1000 | 800 | 0.80 |"


def test_questions_are_of_one_length() -> None:
    assert {len(question.split()) for question in QUESTIONS} <= {9, 10}
    assert read(["--callers", "1", "2", "--set", "LLAMACPP__THREADS=1"]).settings == {"LLAMACPP__THREADS": "1"}
    with pytest.raises(ArgumentTypeError, match="'THREADS' is not NAME=VALUE"):
        setting("THREADS")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    folder = tmp_path_factory.mktemp("logs")
    own = {"STUB__SCRIPT": SCRIPT, "SLOTS": "2"}
    async with (
        running("llm", "stub", own, folder / "llm.log") as llm,
        running("tts", "stub", {"SLOTS": "2"}, Path(folder / "tts.log")) as tts,
    ):
        yield Sides(llm.target, tts.target, "", first=2, later=3, most=6)


@on_one_loop
async def test_conversations_at_once_have_all_their_turns(sides: Sides) -> None:
    level = await at_once(sides.llm, 2, 3, 8)
    assert [each.number for each in level.turns] == [0, 1, 2] * 2
    assert all(each.text == "One two three four. Five six seven eight " and not each.error for each in level.turns)
    assert all(len(each.gaps_ms) == 7 for each in level.turns)


@on_one_loop
@pytest.mark.parametrize("turns", [False, True])
async def test_both_ways_say_the_same(sides: Sides, turns: bool) -> None:
    replies = await callers(sides, 2, 50, "test ", turns=turns)
    assert [reply.text for reply in replies] == [SCRIPT] * 2
    assert all(0 < reply.first_ms <= reply.last_ms and reply.audio_ms > 1000 for reply in replies)
    assert len({reply.audio_ms for reply in replies}) == 1


def test_a_checkpoint_is_made_once_by_the_script_beside_that_python(tmp_path: Path) -> None:
    script = tmp_path / "maker"
    script.write_text('#!/bin/sh\necho "$2" >> "$1"\n')
    script.chmod(0o755)
    for _ in range(2):
        made = random_checkpoint("maker", tmp_path / "model", "tiny", python=tmp_path / "python")
    assert made.read_text() == "tiny\n"
    script.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(SystemExit, match="maker has failed"):
        random_checkpoint("maker", tmp_path / "other", python=tmp_path / "python")
