"""Troubles of a caller that no latency shows."""

import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from told import final, paused

from antiphon_orchestrator.containment import Containment
from antiphon_orchestrator.services.frames import (
    AgentSilencedFrame,
    AnswerOwedFrame,
    CommitTurnFrame,
    OverlapEndedFrame,
)
from antiphon_orchestrator.timeline import TYPED
from antiphon_orchestrator.trouble import Trouble, TroubleObserver

MS = 1_000_000
ASKS = (0, UserStartedSpeakingFrame()), (1100, paused(1000)), (1200, UserStoppedSpeakingFrame())
OWED = (1200, AnswerOwedFrame())
HEARD = BotStartedSpeakingFrame()


def found(*frames: tuple[float, Frame], said: str = "") -> list[Trouble]:
    counted: list[Trouble] = []
    observer = TroubleObserver(counted.append, lambda: said, Containment(lambda _: None))
    for ms, frame in frames:
        observer.note(frame, round(ms * MS))
    observer.finish()
    return counted


@pytest.mark.parametrize(("heard_ms", "troubles"), [(3900, []), (4100, [Trouble.DEAD_AIR])])
def test_dead_air_is_three_seconds_from_the_callers_last_sound(heard_ms: float, troubles: list[Trouble]) -> None:
    assert found(*ASKS, OWED, (heard_ms, HEARD)) == troubles


def test_a_typed_turn_waits_from_its_own_text() -> None:
    typed = (60_000, CommitTurnFrame(sample=-1, reason=TYPED)), (60_000, AnswerOwedFrame())
    assert found(*ASKS, OWED, (1500, HEARD), *typed, (60_500, HEARD)) == []
    assert found(*ASKS, OWED, (1500, HEARD), *typed, (64_000, HEARD)) == [Trouble.DEAD_AIR]


def test_dead_air_ends_with_the_callers_next_words_or_the_call() -> None:
    assert found(*ASKS, OWED, (6000, UserStartedSpeakingFrame())) == [Trouble.DEAD_AIR]
    assert found(*ASKS, OWED, (6000, BotStoppedSpeakingFrame())) == [Trouble.DEAD_AIR]


def test_silence_of_a_caller_is_no_dead_air() -> None:
    assert found(*ASKS, OWED, (1500, HEARD), (3000, BotStoppedSpeakingFrame()), (60_000, HEARD)) == []


def test_an_agent_that_is_silenced_and_says_nothing_more_is_silent_after_an_interruption() -> None:
    talks = (0, HEARD), (500, UserStartedSpeakingFrame()), (500, AgentSilencedFrame(after_ms=100)), (1100, paused(1000))
    over = (1200, UserStoppedSpeakingFrame())
    assert found(*talks, over, (9000, HEARD)) == [Trouble.SILENCE_AFTER_INTERRUPTION]
    assert found(*talks, over, (2000, HEARD)) == []
    assert found((0, HEARD), (500, AgentSilencedFrame()), (900, OverlapEndedFrame()), (9000, HEARD)) == []


def test_a_turn_of_the_agents_own_words_is_self_talk() -> None:
    assert found(*ASKS, (1150, final("train to Rome.")), said="I can book the train to Rome") == [Trouble.SELF_TALK]
    assert found(*ASKS, (1150, final("To Rome?")), said="Where do you want to go") == []
