"""A client that opens a stream on one of several replicas."""

import asyncio
import time

import grpc
import pytest

from antiphon_runtime import pool
from antiphon_runtime.client import DialError, DialPolicy
from antiphon_runtime.testing import serving

from .conftest import SHORT, eventually
from .echo import SERVICE, Echo, config, say
from .test_server import free_port, running


async def test_a_stream_carries_requests_and_events_and_ends_well(served, dial):
    replicas = dial(served.target)
    stream = await replicas.open(config())
    assert stream.address == served.target
    assert stream.ready.stream_id
    await stream.write(say("one"))
    await stream.write(say("two"))
    await stream.done_writing()
    assert [event.transcript.text async for event in stream] == ["one", "two"]
    assert replicas.open_streams == 0


async def test_the_replica_with_the_fewest_own_streams_comes_first(pair, dial):
    (a, at_a), (b, at_b) = pair
    replicas = dial(at_a.target, at_b.target)
    streams = [await replicas.open(config()) for _ in range(4)]
    assert (a.slots.used, b.slots.used) == (2, 2)
    here = [stream for stream in streams if stream.address == at_b.target]
    here[0].cancel()
    await eventually(lambda: b.slots.used == 1)
    assert (await replicas.open(config())).address == at_b.target
    assert (a.attempts, b.attempts) == (2, 3)


async def test_a_full_replica_sends_the_stream_to_the_next(pair, dial):
    (_, at_a), (b, at_b) = pair
    crowd = dial(at_a.target)
    taken = [await crowd.open(config()) for _ in range(2)]
    replicas = dial(at_a.target, at_b.target)
    mine = [await replicas.open(config()) for _ in range(2)]
    assert [stream.address for stream in mine] == [at_b.target] * 2
    assert b.slots.used == 2
    assert len(taken) == 2


async def test_when_all_are_full_that_is_an_answer_and_not_waited_out(pair, dial):
    replicas = dial(*(at.target for _, at in pair), policy=DialPolicy(total_s=600.0))
    streams = [await replicas.open(config()) for _ in range(4)]
    with pytest.raises(DialError) as full:
        await replicas.open(config())
    assert (full.value.code, full.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SLOT")
    assert sum(echo.attempts for echo, _ in pair) - len(streams) in (2, 3)
    assert replicas.open_streams == 4


async def test_full_outweighs_unreachable(pair, dial):
    (_, at_a), _ = pair
    replicas = dial(at_a.target, f"127.0.0.1:{free_port()}", policy=DialPolicy(total_s=600.0))
    streams = [await replicas.open(config()) for _ in range(2)]
    with pytest.raises(DialError, match=at_a.target) as full:
        await replicas.open(config())
    assert full.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(streams) == 2


async def test_a_closed_port_sends_the_stream_to_the_next_and_is_then_tried_last(pair, dial):
    (a, at_a), _ = pair
    a.slots.total = 50
    closed = f"127.0.0.1:{free_port()}"
    replicas = dial(closed, at_a.target)
    opened = [await replicas.open(config()) for _ in range(10)]
    assert {stream.address for stream in opened} == {at_a.target}
    dead = {replica.address: replica for replica in replicas._pool.in_order(())}[closed]
    assert dead.failures <= 1
    if dead.failures:
        assert replicas._pool.in_order(())[-1] is dead


async def test_a_replica_that_comes_back_is_used_again(dial, monkeypatch):
    monkeypatch.setattr(pool, "SHUN_S", 0.0)
    port, a, b = free_port(), Echo(name="a"), Echo(name="b")
    async with serving(SERVICE, b.build) as at_b:
        replicas = dial(f"127.0.0.1:{port}", at_b.target)
        while not any(replica.failures for replica in replicas._pool.in_order(())):
            (await replicas.open(config())).cancel()
        await replicas.open(config())
        async with running(a, bind=f"127.0.0.1:{port}"):
            while (await replicas.open(config())).address == at_b.target:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # gRPC dials again in its own time
            await replicas.close()


async def test_a_refused_request_is_raised_and_not_tried_elsewhere(pair, dial):
    replicas = dial(*(at.target for _, at in pair))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await replicas.open(config("refuse"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sum(echo.attempts for echo, _ in pair) == 1
    assert replicas.open_streams == 0


async def test_a_server_that_never_answers_is_given_up_and_left(served, dial, echo):
    replicas = dial(served.target, policy=DialPolicy(ready_s=0.2, total_s=0.2))
    began = time.monotonic()
    with pytest.raises(DialError, match="did not answer") as unanswered:
        await replicas.open(config("mute"))
    assert time.monotonic() - began < 30.0
    assert (unanswered.value.code, unanswered.value.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "NO_ANSWER")
    await asyncio.wait_for(echo.cancelled.wait(), 60.0)
    assert echo.slots.used == 0
    assert replicas.open_streams == 0


async def test_each_replica_that_is_given_up_sees_its_stream_cancelled_before_long(pair, dial):
    (a, at_a), (b, at_b) = pair
    replicas = dial(at_a.target, at_b.target, policy=DialPolicy(ready_s=0.2, total_s=0.6))
    with pytest.raises(DialError):
        await replicas.open(config("mute"))
    assert a.attempts + b.attempts >= 2
    await eventually(lambda: len(a.happened) + len(b.happened) == a.attempts + b.attempts)
    assert {*a.happened, *b.happened} == {"stream cancelled"}
    assert a.slots.used + b.slots.used == replicas.open_streams == 0


async def test_a_caller_that_gives_up_frees_the_slot(served, dial, echo):
    replicas = dial(served.target)
    opening = asyncio.create_task(replicas.open(config("mute")))
    await echo.holding.wait()
    opening.cancel()
    await asyncio.wait_for(echo.cancelled.wait(), 60.0)
    assert echo.slots.used == 0
    await eventually(lambda: replicas.open_streams == 0)


async def test_a_server_that_starts_later_is_reached(dial, echo):
    port = free_port()
    replicas = dial(f"127.0.0.1:{port}", policy=DialPolicy(total_s=15.0))
    opening = asyncio.create_task(replicas.open(config()))
    await eventually(lambda: any(replica.failures for replica in replicas._pool.in_order(())))
    async with running(echo, bind=f"127.0.0.1:{port}"):
        assert (await opening).ready.stream_id


async def test_nothing_there_is_told_within_the_total(dial):
    replicas = dial(f"127.0.0.1:{free_port()}", policy=SHORT)
    began = time.monotonic()
    with pytest.raises(DialError) as lost:
        await replicas.open(config())
    assert lost.value.code is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began < 30.0


async def test_an_avoided_address_is_used_only_when_it_is_the_last(pair, dial):
    (_, at_a), (b, at_b) = pair
    replicas = dial(at_a.target, at_b.target)
    streams = [await replicas.open(config(), avoid=[at_a.target]) for _ in range(3)]
    assert [stream.address for stream in streams] == [at_b.target, at_b.target, at_a.target]
    assert b.slots.used == 2


async def test_fifty_streams_at_once_spread_evenly(dial):
    a, b = Echo(), Echo()
    async with serving(SERVICE, a.build) as at_a, serving(SERVICE, b.build) as at_b:
        replicas = dial(at_a.target, at_b.target)
        streams = await asyncio.gather(*(replicas.open(config()) for _ in range(50)))
        assert (a.slots.used, b.slots.used) == (25, 25)
        assert len({stream.ready.stream_id for stream in streams}) == 50
        await replicas.close()
