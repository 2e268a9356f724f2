"""The bench of the conversation, at reduced counts: what it prints is what was said."""

import pytest

from antiphon_cli.conversation.bench import measure, read
from antiphon_cli.conversation.report import calls_table, capacity_table, headline, most_held
from antiphon_cli.conversation.sides import ANSWER, OFF, ON, PLAIN, SIDES, injected_ms
from antiphon_tts.backends.stub import word_ms


@pytest.mark.timeout(300)
async def test_every_side_answers_the_same_calls_and_the_figures_are_theirs() -> None:
    notes: list[str] = []
    options = read(["--profiles", "zero", "--turns", "2", "--sessions", "1", "2", "--step-turns", "2"])
    content = await measure(options, notes.append)
    rows = content["turns"]
    assert [row["side"] for row in rows] == [side for side in SIDES for _ in range(2)]
    assert {row["outcome"] for row in rows} == {"answered"}
    assert all(row["v2v_ms"] > 0 and row["heard_v2v_ms"] > 0 and row["llm_calls"] >= 1 for row in rows)
    # Ours answers while the caller pauses, or after; a bot without speculation only after.
    assert {row["speculated"] for row in rows if row["side"] in (OFF, PLAIN)} == {False}
    assert any(row["speculated"] for row in rows if row["side"] == ON)
    crowds = content["capacity"]
    assert [(row["side"], row["sessions"]) for row in crowds if row["sessions"] == 1] == [(ON, 1), (PLAIN, 1)]
    assert all(len(row["v2v_ms"]) == 2 and not row["unanswered"] and row["cpu"] > 0 for row in crowds[:1])
    assert most_held(crowds, ON) >= 1 and most_held(crowds, PLAIN) >= 1
    line = headline(content)
    assert line.startswith("BENCH conversation zero_off_p50=") and " sessions_ours=" in line and " load=" in line
    assert calls_table(rows).row_count == 3 and capacity_table(crowds).row_count == len(crowds)


def test_the_answer_lasts_half_a_second_and_the_injected_delays_are_the_profiles() -> None:
    assert 450 <= sum(map(word_ms, ANSWER.split())) <= 550
    assert injected_ms("zero") == 200 and injected_ms("rtx5090") == 200 + 171 + 101
