"""Streams that a client has opened: their end, and what they leave."""

import asyncio

import grpc
import pytest

from antiphon_runtime.auth import Issuer
from antiphon_runtime.client import DialError
from antiphon_runtime.testing import serving

from .conftest import eventually
from .echo import SERVICE, Echo, config, say


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
