import asyncio
import contextlib
import socket
import time

import grpc
import pytest

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime import pool
from antiphon_runtime.auth import Issuer
from antiphon_runtime.client import DialError, DialPolicy, Replicas
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.testing import serving

from .conftest import eventually
from .echo import SERVICE, Echo, config, say
from .test_server import free_port, running

SHORT = DialPolicy(ready_s=0.3, total_s=0.8, backoff_s=0.05)


@pytest.fixture
async def dial():
    """Makes Replicas that are closed when the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        def make(*targets: str, **options) -> Replicas:
            replicas = Replicas(targets, lambda c: asr_pb2_grpc.AsrServiceStub(c).Transcribe, **options)
            stack.push_async_callback(replicas.close)
            return replicas

        yield make


@pytest.fixture
async def pair():
    """Two replicas with a slot or two each."""
    a, b = Echo(slots=2, name="a"), Echo(slots=2, name="b")
    async with serving(SERVICE, a.build) as at_a, serving(SERVICE, b.build) as at_b:
        yield (a, at_a), (b, at_b)


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


async def test_a_name_that_does_not_resolve_is_told_within_the_total(dial):
    with pytest.raises(DialError, match=r"no address for nowhere\.invalid:1") as lost:
        await dial("nowhere.invalid:1", policy=SHORT).open(config())
    assert lost.value.reason == "NO_ADDRESS"


async def test_a_slow_resolver_holds_nobody_up_beyond_the_total(dial, monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    replicas = dial("asr:1", policy=SHORT)
    with pytest.raises(DialError) as lost:
        await replicas.open(config())
    assert lost.value.reason == "NO_ADDRESS"
    await replicas.close()


@pytest.fixture
def names(monkeypatch):
    """Name resolution table that a test can change."""
    table: dict[str, list[str]] = {}

    async def lookup(host, port, **_):
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]]

    async def install() -> dict[str, list[str]]:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
        return table

    return install


async def test_a_name_may_come_to_stand_for_more_addresses_and_for_fewer(dial, names):
    table, port, a, b = await names(), free_port(), Echo(name="a"), Echo(name="b")
    async with running(a, bind=f"127.0.0.1:{port}"), running(b, bind=f"127.0.0.2:{port}"):
        table["asr"] = ["127.0.0.1"]
        replicas = dial(f"asr:{port}", resolve_every_s=0.0)
        first = await replicas.open(config())
        table["asr"] = ["127.0.0.2"]
        while (stream := await replicas.open(config())).address != f"127.0.0.2:{port}":
            stream.cancel()
        await first.write(say("still here"))  # a stream outlives its address
        assert (await anext(first)).transcript.text == "astill here"
        del table["asr"]  # the resolver fails: what is known stays
        assert (await replicas.open(config())).address == f"127.0.0.2:{port}"
        await replicas.close()


async def test_localhost_with_an_address_that_nobody_serves_works(served, dial):
    found = {at[0] for *_, at in socket.getaddrinfo("localhost", served.port, type=socket.SOCK_STREAM)}
    replicas = dial(f"localhost:{served.port}")
    for _ in range(5):
        assert (await replicas.open(config())).address == served.target
    assert "127.0.0.1" in found


async def test_two_addresses_of_one_name_one_of_them_dead_work(dial, names, echo):
    table, port = await names(), free_port()
    table["asr"] = ["127.0.0.3", "127.0.0.1"]
    async with running(echo, bind=f"127.0.0.1:{port}"):
        replicas = dial(f"asr:{port}")
        for _ in range(5):
            assert (await replicas.open(config())).address == f"127.0.0.1:{port}"
        await replicas.close()


async def test_an_avoided_address_is_used_only_when_it_is_the_last(pair, dial):
    (_, at_a), (b, at_b) = pair
    replicas = dial(at_a.target, at_b.target)
    streams = [await replicas.open(config(), avoid=[at_a.target]) for _ in range(3)]
    assert [stream.address for stream in streams] == [at_b.target, at_b.target, at_a.target]
    assert b.slots.used == 2


async def test_after_an_error_and_a_cancel_no_stream_is_counted(served, dial, echo):
    replicas = dial(served.target)
    stream = await replicas.open(config())
    assert replicas.open_streams == 1
    await stream.write(say("boom"))
    with pytest.raises(grpc.aio.AioRpcError) as lost:
        await anext(stream)
    assert lost.value.code() is grpc.StatusCode.INTERNAL
    assert replicas.open_streams == 0
    async with await replicas.open(config()):
        assert replicas.open_streams == 1
    await eventually(lambda: replicas.open_streams == 0 and echo.slots.used == 0)


async def test_whoever_reads_a_stream_that_another_cancels_just_comes_to_its_end(served, dial):
    stream = await dial(served.target).open(config())

    async def read() -> str:
        return "the end" if [event async for event in stream] == [] else "more"

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    stream.cancel()
    assert await reading == "the end"
    assert [event async for event in stream] == []


async def test_a_task_that_is_cancelled_while_it_reads_stays_cancelled(served, dial):
    stream = await dial(served.target).open(config())
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait((reading,))
    assert reading.cancelled()


async def test_close_ends_idle_streams_too_and_leaves_no_task(served, dial, echo):
    tasks = len(asyncio.all_tasks())
    replicas = dial(served.target)
    streams = [await replicas.open(config()) for _ in range(3)]
    assert echo.slots.used == 3
    await replicas.close()
    assert replicas.open_streams == 0
    await eventually(lambda: echo.slots.used == 0)
    assert [event async for event in streams[0]] == []
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    with pytest.raises(DialError) as closed:
        await replicas.open(config())
    assert closed.value.reason == "CLOSED"


async def test_two_hundred_streams_leave_no_task_and_no_count(served, dial, echo):
    replicas = dial(served.target)
    (await replicas.open(config())).cancel()
    await eventually(lambda: echo.slots.used == 0)
    tasks = len(asyncio.all_tasks())
    for number in range(200):
        stream = await replicas.open(config())
        if number % 2:
            stream.cancel()
        else:
            await stream.done_writing()
            assert [event async for event in stream] == []
    await eventually(lambda: echo.slots.used == 0 and replicas.open_streams == 0)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    assert echo.attempts == 201


async def test_fifty_streams_at_once_spread_evenly(dial):
    a, b = Echo(), Echo()
    async with serving(SERVICE, a.build) as at_a, serving(SERVICE, b.build) as at_b:
        replicas = dial(at_a.target, at_b.target)
        streams = await asyncio.gather(*(replicas.open(config()) for _ in range(50)))
        assert (a.slots.used, b.slots.used) == (25, 25)
        assert len({stream.ready.stream_id for stream in streams}) == 50
        await replicas.close()


async def test_a_stream_whose_server_goes_ends_with_unavailable(dial):
    echo = Echo()
    async with serving(SERVICE, echo.build) as at:
        stream = await dial(at.target).open(config())
    with pytest.raises(grpc.aio.AioRpcError) as lost:
        assert [event.WhichOneof("event") async for event in stream] == ["draining"]
    assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await stream.write(say("anyone?"))


async def test_a_status_that_a_failed_write_hid_is_unavailable_and_not_internal(served, dial):
    stream = await dial(served.target).open(config())
    stream._call._cython_call.set_internal_error("a write failed")  # as grpc.aio does, seldom and by chance
    with pytest.raises(grpc.aio.AioRpcError) as lost:
        await anext(stream)
    assert lost.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_token_and_the_metadata_are_sent_with_each_stream(served, dial, echo):
    replicas = dial(served.target, issuer=Issuer(b"s" * 32, SERVICE))
    await replicas.open(config())
    await replicas.open(config(), metadata=[("x-session-id", "7")])
    assert [token.startswith("Bearer ey") for token in echo.tokens] == [True, True]


@pytest.mark.parametrize("target", ["asr", "asr:", ":50051", "asr:http"])
def test_a_target_that_is_not_host_and_port_is_refused(target):
    with pytest.raises(ConfigError, match="is not host:port"):
        Replicas([target], lambda channel: channel)
