import pytest

from antiphon_orchestrator.agents import Agent
from antiphon_orchestrator.turns.policy import POLICIES, Decision, FixedPause, Fused, Pause, SmartTurn

COMMIT_LONG = Decision(True, "long silence")
WHOLE, HANGING, QUESTION = "I want two tickets.", "I want two tickets and", "What do you have?"


def test_a_fixed_pause_ends_the_turn_when_it_is_reached_and_not_before() -> None:
    policy = FixedPause(pause_ms=600)
    assert not policy.decide(Pause(599.9)).commit
    assert policy.decide(Pause(600)) == Decision(True, "pause")


def test_a_fixed_pause_does_not_look_at_verdicts() -> None:
    policy = FixedPause(pause_ms=600)
    assert not policy.decide(Pause(599.9, True)).commit
    assert policy.decide(Pause(600, False)) == Decision(True, "pause")


def test_a_complete_verdict_ends_the_turn_once_the_least_silence_has_passed() -> None:
    policy = SmartTurn(min_ms=200)
    assert policy.decide(Pause(199.9, True)) == Decision(False)
    assert policy.decide(Pause(200, True)) == Decision(True, "verdict")


def test_without_a_verdict_the_turn_ends_later() -> None:
    policy = SmartTurn(no_verdict_ms=700)
    assert policy.decide(Pause(699.9)) == Decision(False)
    assert policy.decide(Pause(700)) == Decision(True, "no verdict")


def test_against_the_verdict_the_turn_ends_after_a_long_silence_only() -> None:
    policy = SmartTurn(no_verdict_ms=700, max_ms=1600)
    assert policy.decide(Pause(1599.9, False)) == Decision(False, "verdict")
    assert policy.decide(Pause(1600, False)) == COMMIT_LONG


def test_a_late_complete_verdict_still_counts_as_the_reason() -> None:
    assert SmartTurn().decide(Pause(5000, True)) == Decision(True, "verdict")


def test_fused_commits_a_whole_sentence_that_sounded_finished_as_soon_as_smart_turn_does() -> None:
    assert Fused(min_ms=200).decide(Pause(199.9, True, WHOLE)) == Decision(False)
    assert Fused(min_ms=200).decide(Pause(200, True, WHOLE)) == Decision(True, "verdict")


def test_fused_holds_words_that_ask_for_more_whatever_the_verdict() -> None:
    policy = Fused(hold_ms=1300)
    for verdict in (True, False, None):
        assert policy.decide(Pause(1299.9, verdict, HANGING)) == Decision(False, "conjunction")
        assert policy.decide(Pause(1300, verdict, HANGING)) == COMMIT_LONG


def test_fused_waits_for_the_words_a_little_and_does_without_them_then() -> None:
    policy = Fused(min_ms=200, text_ms=350)
    assert policy.decide(Pause(349.9, True, None)) == Decision(False, "text")
    assert policy.decide(Pause(350, True, None)) == Decision(True, "verdict")


def test_fused_ends_a_question_sooner_that_sounded_unfinished() -> None:
    policy = Fused(question_ms=700, max_ms=1600)
    assert policy.decide(Pause(699.9, False, QUESTION)) == Decision(False, "verdict")
    assert policy.decide(Pause(700, False, QUESTION)) == Decision(True, "question")
    assert policy.decide(Pause(1599.9, False, WHOLE)) == Decision(False, "verdict")


def test_fused_without_a_verdict_ends_as_smart_turn_does() -> None:
    policy = Fused(no_verdict_ms=700)
    assert policy.decide(Pause(699.9, None, WHOLE)) == Decision(False)
    assert policy.decide(Pause(700, None, WHOLE)) == Decision(True, "no verdict")


def test_fused_reads_the_words_in_its_language() -> None:
    assert Fused(language="de").decide(Pause(400, True, "Ich möchte zwei Karten und")).reason == "conjunction"
    assert Fused(language="en-US").decide(Pause(400, True, "Ich möchte zwei Karten und")).commit


@pytest.mark.parametrize("complete", [None, False, True])
@pytest.mark.parametrize("text", [None, "", WHOLE, HANGING, QUESTION, "um", "five five five"])
def test_every_policy_that_an_agent_may_name_ends_every_turn(complete: bool | None, text: str | None) -> None:
    for name in Agent.model_fields["turn_policy"].annotation.__args__:  # type: ignore[union-attr]
        assert POLICIES[name]("en").decide(Pause(1600, complete, text)).commit
