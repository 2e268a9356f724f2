import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
from own_bot import IMPATIENT, NOWHERE, RATE, dialled, settles, stub
from pipecat.utils.errors import ErrorCategory

from antiphon.asr.v1 import asr_pb2 as pb
from antiphon.common.v1 import audio_pb2
from antiphon_orchestrator.services.link import Link, category, describe, passing
from antiphon_runtime.client import DialError, Replicas, Stream
from antiphon_runtime.testing import Served


def config(rate_hz: int = RATE) -> pb.TranscribeRequest:
    audio = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=rate_hz)
    return pb.TranscribeRequest(config=pb.TranscribeConfig(audio=audio))


class Adapter:
    """What an adapter does with its link: here, it only remembers. A drain is answered by moving."""

    def __init__(self, replicas: Replicas, *, rate_hz: int = RATE, moves: bool = True, queue_size: int = 500) -> None:
        self.addresses: list[str] = []
        self.events: list[str] = []
        self.lost: list[tuple[Exception, bool]] = []
        self.moves = moves
        self.link = Link(
            replicas,
            config(rate_hz),
            on_open=self._opened,
            on_event=self._on_event,
            on_lost=self._on_lost,
            queue_size=queue_size,
        )

    def _opened(self, stream: Stream) -> Sequence[Any]:
        self.addresses.append(stream.address)
        return [pb.TranscribeRequest(audio=bytes(640)), finalize(len(self.addresses))]

    async def _on_event(self, event: Any) -> None:
        self.events.append(event.WhichOneof("event"))
        if self.events[-1] == "draining" and self.moves:
            self.link.renew()

    async def _on_lost(self, error: Exception, final: bool) -> None:
        self.lost.append((error, final))


def finalize(number: int) -> pb.TranscribeRequest:
    return pb.TranscribeRequest(finalize=pb.Finalize(id=number, mode=pb.FINALIZE_MODE_SPECULATE))


@asynccontextmanager
async def linked(*targets: str, **options: Any) -> AsyncIterator[Adapter]:
    async with dialled("asr", *targets, policy=IMPATIENT) as replicas:
        adapter = Adapter(replicas, **options)
        running = asyncio.create_task(adapter.link.run(), name="link")
        try:
            yield adapter
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def used(served: Served) -> float:
    return served.sample("antiphon_asr_slots_used")


async def test_a_new_stream_is_told_first_what_it_must_know() -> None:
    async with stub("asr") as at, linked(at.target) as adapter:
        await settles(lambda: adapter.events == ["finalized"])
        assert adapter.addresses == [at.target]


async def test_nothing_is_taken_while_there_is_no_stream() -> None:
    async with linked(NOWHERE) as adapter:
        await settles(lambda: adapter.lost)
        assert not adapter.link.connected
        assert not adapter.link.send(finalize(7))


async def test_more_than_the_queue_holds_is_refused() -> None:
    async with stub("asr") as at, linked(at.target, queue_size=2) as adapter:
        await settles(lambda: adapter.link.connected)
        assert [adapter.link.send(finalize(number)) for number in (7, 8, 9)] == [True, True, False]


async def test_a_draining_replica_is_left_for_another_and_nothing_is_lost() -> None:
    async with stub("asr") as one, stub("asr") as two, linked(one.target, two.target) as adapter:
        await settles(lambda: adapter.events == ["finalized"])
        first, second = (one, two) if used(one) else (two, one)
        first.host.drain.start(30.0)
        await settles(lambda: used(second) == 1 and used(first) == 0)
        await settles(lambda: adapter.events == ["finalized", "draining", "finalized"])
        assert adapter.addresses == [first.target, second.target]
        assert adapter.lost == []


async def test_the_only_replica_is_not_left_again_and_again_while_it_drains() -> None:
    async with stub("asr") as at, linked(at.target) as adapter:
        await settles(lambda: adapter.events == ["finalized"])
        at.host.drain.start(30.0)
        await settles(lambda: adapter.events.count("draining") == 2)  # told once by each stream
        await settles(lambda: adapter.events.count("finalized") == 2)
        assert adapter.link.send(finalize(9))
        await settles(lambda: adapter.events.count("finalized") == 3)
        assert adapter.addresses == [at.target] * 2
        assert adapter.lost == []


async def test_a_stream_that_is_abandoned_opens_even_on_the_same_replica() -> None:
    async with stub("asr") as at, linked(at.target) as adapter:
        for count in (1, 2, 3):
            await settles(lambda count=count: len(adapter.addresses) == count and adapter.link.connected)
            adapter.link.abandon()
        await settles(lambda: len(adapter.addresses) == 4)
        await settles(lambda: used(at) == 1)
        assert adapter.lost == []


async def test_what_waited_for_a_lost_stream_is_not_sent_to_the_next() -> None:
    async with stub("asr") as at, linked(at.target) as adapter:
        await settles(lambda: adapter.events == ["finalized"])
        adapter.link.send(finalize(1))  # known to the first stream already, so it would be its end
        adapter.link.send(finalize(7))
        adapter.link.abandon()
        await settles(lambda: adapter.events.count("finalized") == 2)
        adapter.link.send(finalize(7))
        await settles(lambda: adapter.events.count("finalized") == 3)
        assert adapter.lost == []


async def test_a_lost_replica_is_told_of_and_the_stream_opens_on_another() -> None:
    async with AsyncExitStack() as one, AsyncExitStack() as two:
        replicas = {}
        for stack in (one, two):
            replicas[(await stack.enter_async_context(stub("asr"))).target] = stack
        async with linked(*replicas, moves=False) as adapter:
            await settles(lambda: adapter.link.connected)
            (first,) = adapter.addresses
            await replicas[first].aclose()
            await settles(lambda: len(adapter.addresses) == 2 and adapter.link.connected)
            assert set(adapter.addresses) == set(replicas)
            assert [final for _, final in adapter.lost] == [False]


async def test_a_replica_that_comes_back_is_found_again() -> None:
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(stub("asr"))
        async with linked(at.target, moves=False) as adapter:
            await settles(lambda: adapter.link.connected)
            await stack.aclose()
            await settles(lambda: len(adapter.lost) >= 2)  # the stream, and at least one try
            async with stub("asr", bind=at.target):
                await settles(lambda: adapter.link.connected)
                assert len(adapter.addresses) == 2


async def test_a_refusal_that_dialling_again_cannot_cure_ends_the_link() -> None:
    async with stub("asr") as at, dialled("asr", at.target) as replicas:
        adapter = Adapter(replicas, rate_hz=11_025)
        await adapter.link.run()
        ((error, final),) = adapter.lost
        assert final and "sample_rate_hz" in describe(error)
        assert category(error) is ErrorCategory.INVALID_REQUEST


async def test_a_full_replica_is_dialled_again_until_it_has_a_place() -> None:
    async with stub("asr", slots=1) as at, AsyncExitStack() as holder:
        first = await holder.enter_async_context(linked(at.target))
        await settles(lambda: first.link.connected)
        async with linked(at.target) as second:
            await settles(lambda: second.lost)
            error, final = second.lost[0]
            assert not final and category(error) is ErrorCategory.RATE_LIMIT
            await holder.aclose()
            await settles(lambda: second.link.connected)


def test_errors_have_the_category_of_their_status() -> None:
    gone = DialError("gone", grpc.StatusCode.UNAVAILABLE, "")
    wrong = DialError("wrong", grpc.StatusCode.INVALID_ARGUMENT, "")
    assert (category(gone), passing(gone)) == (ErrorCategory.CONNECTIVITY,) * 2
    assert (category(wrong), passing(wrong)) == (ErrorCategory.INVALID_REQUEST, ErrorCategory.CONNECTIVITY)
    assert (category(ValueError()), passing(ValueError())) == (None, ErrorCategory.CONNECTIVITY)
