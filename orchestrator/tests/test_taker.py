from collections.abc import Iterator

import pytest
from own_bot import audio, bot, silence
from pipecat.frames.frames import Frame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.tests.utils import run_test

from antiphon_orchestrator.services.frames import (
    CommitTurnFrame,
    PauseTextFrame,
    SpeechPausedFrame,
    TurnVerdictFrame,
)
from antiphon_orchestrator.turns.policy import Decision, FixedPause, Fused, Pause, SmartTurn, TurnPolicy
from antiphon_orchestrator.turns.taker import TurnTaker

MS = 16  # samples


class Seconds:
    """A policy that remembers what it was asked."""

    def __init__(self, after_ms: float) -> None:
        self.after_ms = after_ms
        self.asked: list[Pause] = []

    def decide(self, pause: Pause) -> Decision:
        self.asked.append(pause)
        return Decision(pause.silence_ms >= self.after_ms, "asked")


def hears(ms: int) -> Iterator[Frame]:
    for _ in range(ms // 20):
        yield audio(silence(20))


def pauses(at_ms: int, noticed_ms: int = 100) -> Iterator[Frame]:
    """Audio up to the moment at which a pause that began at `at_ms` is noticed, and the notice."""
    yield SpeechPausedFrame(sample=at_ms * MS, silence_ms=noticed_ms)


async def commits(policy: TurnPolicy, *frames: Frame) -> list[tuple[int, str]]:
    """The commits that went downstream; as many must have gone upstream."""
    down, up = await run_test(TurnTaker(policy), frames_to_send=frames)
    found = [(frame.sample // MS, frame.reason) for frame in down if isinstance(frame, CommitTurnFrame)]
    assert len(found) == sum(isinstance(frame, CommitTurnFrame) for frame in up)
    return found


async def test_a_turn_is_committed_at_its_pause_once_the_policy_agrees() -> None:
    frames = [
        VADUserStartedSpeakingFrame(),
        *hears(1100),
        *pauses(1000),
        *hears(100),
        VADUserStoppedSpeakingFrame(),
        *hears(500),
    ]
    assert await commits(FixedPause(600), *frames) == [(1000, "pause")]


async def test_silence_is_counted_in_audio_from_the_last_sample_of_speech() -> None:
    policy = Seconds(after_ms=600)
    frames = [*hears(1100), *pauses(1000), *hears(100), VADUserStoppedSpeakingFrame(), *hears(380), *hears(20)]
    assert await commits(policy, *frames) == [(1000, "asked")]
    assert [pause.silence_ms for pause in policy.asked] == [float(ms) for ms in range(200, 620, 20)]


async def test_a_pause_is_committed_once() -> None:
    frames = [*hears(1100), *pauses(1000), VADUserStoppedSpeakingFrame(), *hears(3000)]
    assert await commits(FixedPause(600), *frames) == [(1000, "pause")]


async def test_nothing_is_committed_before_the_caller_has_stopped() -> None:
    assert await commits(FixedPause(600), *hears(1100), *pauses(1000), *hears(3000)) == []


async def test_nothing_is_committed_without_a_pause() -> None:
    assert await commits(FixedPause(600), VADUserStoppedSpeakingFrame(), *hears(3000)) == []


async def test_a_complete_verdict_commits_at_once() -> None:
    frames = [
        *hears(1200),
        *pauses(1000),
        VADUserStoppedSpeakingFrame(),
        TurnVerdictFrame(sample=1000 * MS, silence_ms=200, complete=True),
    ]
    assert await commits(SmartTurn(), *frames) == [(1000, "verdict")]


async def test_a_verdict_on_an_earlier_pause_does_not_count() -> None:
    frames = [
        *hears(1200),
        *pauses(1000),
        VADUserStoppedSpeakingFrame(),
        TurnVerdictFrame(sample=400 * MS, silence_ms=200, complete=True),
        *hears(400),
    ]
    assert await commits(SmartTurn(no_verdict_ms=700), *frames) == []
    assert await commits(SmartTurn(no_verdict_ms=700), *frames, *hears(100)) == [(1000, "no verdict")]


async def test_the_newest_verdict_on_a_pause_counts() -> None:
    frames = [
        *hears(1200),
        *pauses(1000),
        VADUserStoppedSpeakingFrame(),
        TurnVerdictFrame(sample=1000 * MS, silence_ms=200, complete=False),
        *hears(600),
        TurnVerdictFrame(sample=1000 * MS, silence_ms=500, complete=True),
    ]
    assert await commits(SmartTurn(), *frames) == [(1000, "verdict")]
    assert await commits(SmartTurn(), *frames[:-1]) == []


async def test_a_verdict_after_the_commit_changes_nothing() -> None:
    frames = [
        *hears(1200),
        *pauses(1000),
        VADUserStoppedSpeakingFrame(),
        TurnVerdictFrame(sample=1000 * MS, silence_ms=200, complete=True),
        TurnVerdictFrame(sample=1000 * MS, silence_ms=500, complete=True),
        *hears(2000),
    ]
    assert await commits(SmartTurn(), *frames) == [(1000, "verdict")]


async def test_speech_that_goes_on_forgets_the_pause() -> None:
    frames = [
        *hears(1200),
        *pauses(1000),
        VADUserStoppedSpeakingFrame(),
        *hears(300),
        VADUserStartedSpeakingFrame(),
        TurnVerdictFrame(sample=1000 * MS, silence_ms=500, complete=True),
        *hears(1600),
    ]
    assert await commits(SmartTurn(), *frames) == []
    later = [*frames, *pauses(3000), VADUserStoppedSpeakingFrame(), *hears(700)]
    assert await commits(SmartTurn(), *later) == [(3000, "no verdict")]


async def test_each_turn_of_a_conversation_is_committed() -> None:
    frames: list[Frame] = []
    for at in (1000, 3000, 5000):
        frames += [VADUserStartedSpeakingFrame(), *hears(1200), *pauses(at), VADUserStoppedSpeakingFrame(), *hears(800)]
    assert await commits(FixedPause(600), *frames) == [(1000, "pause"), (3000, "pause"), (5000, "pause")]


async def test_what_happened_is_seen_downstream_before_the_commit_it_causes() -> None:
    frames = [
        *hears(1200),
        *pauses(1000),
        VADUserStoppedSpeakingFrame(),
        TurnVerdictFrame(sample=16_000, complete=True),
    ]
    down, _ = await run_test(TurnTaker(SmartTurn()), frames_to_send=frames)
    names = [type(frame).__name__ for frame in down[-3:]]
    assert names == ["VADUserStoppedSpeakingFrame", "TurnVerdictFrame", "CommitTurnFrame"]


@pytest.mark.parametrize("rate_hz", [8000, 24_000])
async def test_the_rate_is_that_of_the_audio(rate_hz: int) -> None:
    tick = audio(bytes(rate_hz // 50 * 2))
    tick.sample_rate = rate_hz
    frames = [tick] * 50 + [SpeechPausedFrame(sample=rate_hz), VADUserStoppedSpeakingFrame()] + [tick] * 30
    down, _ = await run_test(TurnTaker(FixedPause(600)), frames_to_send=frames[:-1])
    assert not any(isinstance(frame, CommitTurnFrame) for frame in down)
    down, _ = await run_test(TurnTaker(FixedPause(600)), frames_to_send=frames)
    assert isinstance(down[-1], CommitTurnFrame)


async def paused_with(policy: TurnPolicy, *text: PauseTextFrame) -> CommitTurnFrame:
    """The commit of a pause at 1000 ms that sounded finished, told `text` by the recognizer behind."""
    async with bot(TurnTaker(policy)) as at:
        await at.send(VADUserStartedSpeakingFrame(), *hears(1100), *pauses(1000))
        await at.send(TurnVerdictFrame(1000 * MS, complete=True))
        await at.down.until(TurnVerdictFrame)
        for frame in text:
            await at.send_up(frame)
            await at.up.until(PauseTextFrame)
        await at.send(*hears(100), VADUserStoppedSpeakingFrame(), *hears(1600))
        return await at.down.until(CommitTurnFrame)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I want two tickets.", ("verdict", "")),
        ("I want two tickets and", ("long silence", "conjunction")),
    ],
)
async def test_the_policy_is_told_the_words_of_the_pause_and_what_it_held_for_is_kept(text, told) -> None:
    commit = await paused_with(Fused(), PauseTextFrame(sample=1000 * MS, text=text))
    assert (commit.reason, commit.held_for) == told


async def test_the_words_of_an_earlier_pause_are_not_those_of_this_one() -> None:
    policy = Seconds(after_ms=600)
    await paused_with(policy, PauseTextFrame(sample=900 * MS, text="and"))
    assert {pause.text for pause in policy.asked} == {None}
