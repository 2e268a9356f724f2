"""What a speaker's events are when the model is slow, when a turn begins anew, and when a stream is long."""

import asyncio
import time
import tracemalloc
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from antiphon_turn.backends import Judged, Question
from antiphon_turn.edges import Paused, Rules, Started
from antiphon_turn.metrics import TurnMetrics
from antiphon_turn.recent import Recent
from antiphon_turn.session import MAX_UNREAD, Session, Verdict
from antiphon_turn.testing import RATE, silence, tone

RULES = Rules(frame_samples=320, start_frames=2, resume_frames=2, enter=0.5, leave=0.5, complete_at=0.5)


class Ear:
    """Loud frames are voice; every verdict is complete, once `go` is set."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def voice(self, frame: bytes) -> float:
        return 1.0 if any(frame) else 0.0

    async def judge(self, question: Question) -> Judged:
        self.questions.append(question)
        self.asked.set()
        began_s = time.monotonic()
        await self.go.wait()
        return Judged(0.9, began_s)


def session(ear: Ear, registry: CollectorRegistry | None = None) -> Session:
    return Session(ear, RULES, RATE, (100, 200), TurnMetrics.register(registry or CollectorRegistry()))


async def rest(session: Session) -> list[Any]:
    """The events that are left, verdicts by their pause and silence."""
    events = []
    while (event := await session.next_event()) is not None:
        events.append((event.sample, event.silence_ms) if isinstance(event, Verdict) else event)
    return events


async def test_a_verdict_that_speech_overtakes_is_never_sent() -> None:
    ear, registry = Ear(), CollectorRegistry()
    heard = session(ear, registry)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heard.judge())
        await heard.push(tone(100) + silence(240))
        await ear.asked.wait()
        await heard.push(tone(40))
        ear.go.set()
        await heard.push(tone(60) + silence(100))
        heard.finish()
        assert await rest(heard) == [Started(0), Paused(1600, 1600), Started(5440), Paused(7040, 1600), (7040, 100)]
    assert len(ear.questions) == 2  # the old pause's second silence was not even asked about
    assert registry.get_sample_value("antiphon_turn_verdicts_total", {"outcome": "overtaken"}) == 2


async def test_a_verdict_that_is_not_read_before_speech_goes_on_is_never_sent() -> None:
    ear = Ear()
    ear.go.set()
    heard = session(ear)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heard.judge())
        await heard.push(tone(100) + silence(100))
        await ear.asked.wait()
        await heard.push(tone(40))
        heard.finish()
        assert await rest(heard) == [Started(0), Paused(1600, 1600), Started(3200)]


async def test_a_verdict_that_is_read_in_time_is_sent() -> None:
    ear = Ear()
    ear.go.set()
    heard = session(ear)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heard.judge())
        await heard.push(tone(100) + silence(100))
        events = [await heard.next_event() for _ in range(3)]
        assert isinstance(events[2], Verdict)
        assert (events[2].complete, events[2].probability) == (True, 0.9)
        await heard.push(tone(40))
        heard.finish()
        assert await rest(heard) == [Started(3200)]


async def test_a_verdict_already_under_way_is_still_given_after_the_last_audio() -> None:
    ear = Ear()
    heard = session(ear)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heard.judge())
        await heard.push(tone(100) + silence(200))
        heard.finish()
        ear.go.set()
        assert await rest(heard) == [Started(0), Paused(1600, 1600), (1600, 100), (1600, 200)]


async def questions_of(*steps: bytes | None) -> list[bytes]:
    """What the model was asked to judge; None in the steps begins a turn."""
    ear = Ear()
    ear.go.set()
    heard = session(ear)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heard.judge())
        reading = tasks.create_task(rest(heard))
        for step in steps:
            if step is None:
                heard.begin_turn()
            else:
                await heard.push(step)
        heard.finish()
        await reading
    return [question.pcm for question in ear.questions]


async def test_a_verdict_hears_the_turn_up_to_its_silence_and_not_beyond() -> None:
    said = silence(60) + tone(100)
    assert await questions_of(said + silence(210)) == [said + silence(100), said + silence(200)]


async def test_what_was_heard_before_an_utterance_counts_no_longer() -> None:
    first, second = tone(300), tone(100, level=9000)
    assert (await questions_of(first, silence(2000), None, second, silence(100)))[-1] == second + silence(100)
    assert await questions_of(first, None, second, silence(100)) == [second + silence(100)]


async def test_an_utterance_ends_its_pauses_verdicts_that_are_not_yet_due() -> None:
    assert len(await questions_of(tone(100), silence(199), None, silence(2000))) == 1
    assert len(await questions_of(tone(100), silence(200), None, silence(2000))) == 2


async def test_only_the_last_eight_seconds_are_judged() -> None:
    said = b"".join(tone(1000, level=1000 + second) for second in range(12))
    asked = await questions_of(*[said[at : at + 32_000] for at in range(0, len(said), 32_000)], silence(200))
    assert asked == [(said + silence(100))[-256_000:], (said + silence(200))[-256_000:]]


async def test_a_caller_that_reads_nothing_is_no_longer_listened_to() -> None:
    heard = session(Ear())
    turns = (MAX_UNREAD // 2 + 1) * [tone(40) + silence(100)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            for turn in turns:
                await heard.push(turn)


async def test_ten_minutes_of_silence_take_the_memory_of_eight_seconds() -> None:
    heard, second = session(Ear()), silence(1000)
    tracemalloc.start()
    try:
        for _ in range(600):
            await heard.push(second)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 8 * len(second)


def test_recent_keeps_positions_when_it_forgets() -> None:
    recent = Recent(keep=100)
    for value in range(50):
        recent.write(memoryview(bytes([value]) * 20))
    assert recent.end == 500
    assert recent.between(480, 500) == bytes([48]) * 20 + bytes([49]) * 20
    assert recent.between(485, 495) == bytes([48]) * 10 + bytes([49]) * 10
    assert len(recent.between(0, 500)) >= 200
    assert recent.between(0, 10) == b""
