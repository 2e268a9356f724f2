"""What the session does for every backend, against a reader who takes his time."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asr_caller import RATE, SPECULATE, audio, config, finalize, loud, stream
from prometheus_client import CollectorRegistry

from antiphon_asr.backends import Finalize, Finalized, Heard, Mode, StreamConfig
from antiphon_asr.backends.stub import StubDecoder
from antiphon_asr.metrics import AsrMetrics
from antiphon_asr.outbox import Outbox
from antiphon_asr.session import MAX_OPEN, Session, opened
from antiphon_runtime.latency import ZERO
from antiphon_runtime.testing import Served


@asynccontextmanager
async def session(words: int) -> AsyncIterator[Session]:
    stream_config = StreamConfig(RATE, "stub", "en-US", interim_results=True)
    script = (" ".join(f"w{index}" for index in range(words)),)
    decoder = StubDecoder(stream_config, script, ZERO, random.Random(0))
    async with opened(decoder, RATE, AsrMetrics.register(CollectorRegistry(), dict)) as made:
        yield made


async def test_a_slow_reader_gets_the_newest_interim_and_every_answer() -> None:
    async with session(words=1000) as slow:
        reader = aiter(slow)
        for id in range(MAX_OPEN):
            await slow.push(loud(RATE))
            slow.finalize(Finalize(id, Mode.SPECULATE, 0))
        slow.finish()
        events = [event async for event in reader]
    answers = [event.id for event in events if isinstance(event, Finalized)]
    assert answers == list(range(MAX_OPEN))
    assert len(events) <= 2 * MAX_OPEN + 1


def test_waiting_interims_become_the_newest_one() -> None:
    outbox = Outbox()
    for index in range(1000):
        outbox.put(Heard(str(index), index))
    assert len(outbox) == 1


async def test_a_reader_who_catches_up_can_ask_again() -> None:
    async with session(words=1) as patient:
        reader = aiter(patient)
        await patient.push(loud(RATE))
        for id in range(3 * MAX_OPEN):
            patient.finalize(Finalize(id, Mode.SPECULATE, 0))
            while not isinstance(await anext(reader), Finalized):
                pass


async def test_a_client_that_reads_late_still_gets_every_answer(served: Served) -> None:
    async with stream(served, config(interim_results=True)) as call:
        for id in range(60):
            await call.send(audio(loud(RATE // 10)), finalize(id, SPECULATE))
        assert sorted([(await call.finalized()).id for _ in range(60)]) == list(range(60))
