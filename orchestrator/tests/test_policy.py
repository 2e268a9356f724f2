from antiphon_orchestrator.agents import Agent
from antiphon_orchestrator.turns.policy import POLICIES, FixedPause, Pause, SmartTurn


def test_a_fixed_pause_ends_the_turn_when_it_is_reached_and_not_before() -> None:
    policy = FixedPause(pause_ms=600)
    assert policy.decide(Pause(599.9, None)) is None
    assert policy.decide(Pause(600, None)) == "pause"


def test_a_fixed_pause_does_not_look_at_verdicts() -> None:
    policy = FixedPause(pause_ms=600)
    assert policy.decide(Pause(599.9, True)) is None
    assert policy.decide(Pause(600, False)) == "pause"


def test_a_complete_verdict_ends_the_turn_once_the_least_silence_has_passed() -> None:
    policy = SmartTurn(min_ms=200)
    assert policy.decide(Pause(199.9, True)) is None
    assert policy.decide(Pause(200, True)) == "verdict"


def test_without_a_verdict_the_turn_ends_later() -> None:
    policy = SmartTurn(no_verdict_ms=700)
    assert policy.decide(Pause(699.9, None)) is None
    assert policy.decide(Pause(700, None)) == "no verdict"


def test_against_the_verdict_the_turn_ends_after_a_long_silence_only() -> None:
    policy = SmartTurn(no_verdict_ms=700, max_ms=1600)
    assert policy.decide(Pause(1599.9, False)) is None
    assert policy.decide(Pause(1600, False)) == "long silence"


def test_a_late_complete_verdict_still_counts_as_the_reason() -> None:
    assert SmartTurn().decide(Pause(5000, True)) == "verdict"


def test_every_policy_that_an_agent_may_name_exists() -> None:
    for name in Agent.model_fields["turn_policy"].annotation.__args__:  # type: ignore[union-attr]
        assert POLICIES[name].decide(Pause(60_000, None))
