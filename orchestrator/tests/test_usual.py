import pytest

from antiphon_orchestrator.timeline import Turn
from antiphon_orchestrator.usual import FEWEST_TURNS, REMEMBERED_TURNS, Usual

MS = 1_000_000


def turn(number: int = 1, **stages_ms: float) -> Turn:
    made = Turn(number, outcome="answered", speech_end_ns=0)
    at = 0.0
    for name, ms in stages_ms.items():
        at += ms
        made.stage(name, round(at * MS))
    made.first_audio_ns = round(at * MS)
    return made


def explained(usual: Usual, one: Turn) -> Turn:
    usual.explain(one)
    return one


@pytest.fixture
def usual() -> Usual:
    """Turns of 500 ms, of which the model takes 170."""
    kept = Usual()
    for _ in range(FEWEST_TURNS):
        kept.explain(turn(pause=200, llm=170, tts=130))
    return kept


def test_a_slow_turn_names_the_stage_that_exceeded_its_own_median_and_not_the_longest(usual: Usual) -> None:
    slow = explained(usual, turn(pause=400, llm=380, tts=130))
    assert slow.slowed_by and slow.slowed_by.to_json() == {
        "stage": "llm",
        "ms": 380,
        "usual_ms": 170,
        "usual_v2v_ms": 500,
        "turns": FEWEST_TURNS,
    }
    assert "llm took 380 ms, 210 ms more than its own usual 170 ms" in slow.why


def test_a_turn_about_as_fast_as_the_median_is_called_usual(usual: Usual) -> None:
    assert "as is usual" in explained(usual, turn(pause=200, llm=190, tts=140)).why


def test_a_stage_that_there_usually_is_not_is_to_blame_for_all_of_it(usual: Usual) -> None:
    with_tool = explained(usual, turn(pause=200, llm=170, tool=300, tts=130))
    assert with_tool.slowed_by and (with_tool.slowed_by.stage, with_tool.slowed_by.usual_ms) == ("tool", 0)


def test_a_turn_that_the_policy_held_open_says_for_what(usual: Usual) -> None:
    held = turn(pause=200, verdict=900, llm=170, tts=130)
    held.held_for = "the words are unfinished"
    assert "because the turn policy waited: the words are unfinished" in explained(usual, held).why


def test_before_there_is_something_usual_the_longest_stage_is_named() -> None:
    first = explained(Usual(), turn(pause=200, llm=170))
    assert first.slowed_by is None and "most of it in pause (200 ms)" in first.why


@pytest.mark.parametrize(("error", "told"), [("llm: UNAVAILABLE", "llm: UNAVAILABLE"), ("", "the agent was not heard")])
def test_a_turn_without_an_answer_says_why(usual: Usual, error: str, told: str) -> None:
    failed = explained(usual, Turn(7, outcome="failed", error=error))
    assert failed.why == f"It was failed: {told}."


def test_only_answered_turns_become_usual_and_only_the_last_ones_count(usual: Usual) -> None:
    interrupted = turn(pause=200, llm=5000, tts=130)
    interrupted.outcome = "interrupted"
    for _ in range(REMEMBERED_TURNS):
        usual.explain(interrupted)
    assert explained(usual, turn(pause=200, llm=170, tts=130)).slowed_by.usual_v2v_ms == 500  # type: ignore[union-attr]
    for _ in range(REMEMBERED_TURNS):
        usual.explain(turn(pause=200, llm=700, tts=130))
    now = explained(usual, turn(pause=200, llm=170, tts=130)).slowed_by
    assert now and (now.usual_v2v_ms, now.turns) == (1030, REMEMBERED_TURNS)
