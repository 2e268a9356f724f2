"""A caller of a load, tick by tick: what it suffers is in its row, and in the load's figures."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from antiphon_bench.load.belongs import Judge
from antiphon_bench.load.caller import Caller, Lines
from antiphon_bench.load.html import write_html
from antiphon_bench.load.material import TICK_S, Question
from antiphon_bench.load.plan import Manner, Plan
from antiphon_bench.load.report import headline, trouble_line
from antiphon_bench.load.rows import TurnRow
from antiphon_bench.load.run import Loaded
from antiphon_bench.load.score import score

FRAME = bytes(640)
QUESTION = Question("one", "", (), (FRAME,) * 50, 1.0)


def called(answers: Sequence[tuple[float, float]], *, turns: int = 1, barge_in: bool = False) -> list[TurnRow]:
    """A call in which the agent sounds at these times, from the call's beginning; the first question is from 0.52 s."""
    rows: list[TurnRow] = []
    manner = Manner(think_s=0.0, barge_in_share=1.0 if barge_in else 0.0, barge_in_at_s=0.5)
    lines = Lines([QUESTION], [QUESTION], [FRAME], Judge([QUESTION]))
    caller = Caller(0, lines, manner, turns, 6.0, rows.append, 0.0)
    caller.session_began(0.0)
    tick = 0
    while not caller.done:
        tick += 1
        now_s = tick * TICK_S
        assert now_s < 60
        if any(start <= now_s - TICK_S and now_s <= end for start, end in answers):
            caller.hears(now_s - TICK_S, now_s)
        caller.tick(now_s, now_s)
        if barge_in and now_s == pytest.approx(3.0):
            caller.told({"outcome": "interrupted"})
    return rows


def test_a_turn_that_is_answered_in_time_has_no_trouble() -> None:
    (row,) = called([(2.0, 3.0)])
    assert (row.outcome, row.troubles, row.dead_air_s) == ("answered", (), 0.0)


def test_a_late_answer_is_dead_air_though_it_is_answered() -> None:
    (row,) = called([(5.5, 6.5)])
    assert (row.outcome, row.troubles) == ("answered", ("dead_air",))
    assert row.dead_air_s == pytest.approx(4.0, abs=0.1)


def test_an_interruption_that_nothing_follows_is_told() -> None:
    first, second = called([(2.0, 2.8)], turns=2, barge_in=True)
    assert first.troubles == ()
    assert second.troubles == ("dead_air", "broken_off", "silence_after_interruption")


def test_an_interruption_that_is_answered_is_no_trouble() -> None:
    first, second = called([(2.0, 2.8), (4.2, 5.0)], turns=2, barge_in=True)
    assert (first.troubles, second.outcome, second.troubles) == ((), "answered", ())


def test_the_figures_of_a_load_count_and_share_what_was_suffered(tmp_path: Path) -> None:
    rows = [*called([(2.0, 3.0)]), *called([(5.5, 6.5)]), *called([]), *called([(2.0, 3.0)])]
    result = score(rows, 6.0)
    assert (result.troubles["dead_air"], result.troubled, result.troubled_share) == (2, 2, 0.5)
    content = result.to_json()
    assert (content["troubled_share"], content["troubles"]["self_talk"]) == (0.5, 0)
    assert "50.0 % of turns were troubled" in trouble_line(result)
    assert "no turn had dead air" in trouble_line(score(rows[:1], 6.0))
    loaded = Loaded(Plan("ws://x", 4, [Path("one.wav")]), tuple(rows), (), 1.0, 1.0)
    assert " troubled=2 " in headline(loaded, None, 0)
    write_html([loaded], "Load", "", tmp_path / "load.html")
    assert "50.0 %: dead air 2" in (tmp_path / "load.html").read_text()
    assert rows[1].to_json()["troubles"] == ("dead_air",)
