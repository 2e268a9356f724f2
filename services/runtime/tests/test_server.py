import asyncio
import socket
import time
import urllib.request
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime.client import ELSEWHERE
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.rpc import error_reason
from antiphon_runtime.server import LIVENESS, NOT_SERVING, SERVING, listening
from antiphon_runtime.settings import ServerSettings
from antiphon_runtime.testing import collect

from .conftest import eventually
from .echo import SERVICE, Echo, config, say


class Running:
    """`listening` in a task of its own, so that a test sees what it does before and after it is ready."""

    def __init__(self, build, **settings) -> None:
        self.settings = ServerSettings(**{"bind": "127.0.0.1:0", "grace_s": 0.0, **settings})
        self.build = build
        self.leave = asyncio.Event()
        self.ready: asyncio.Future = asyncio.get_running_loop().create_future()

    async def run(self, stopped: asyncio.Event | None = None) -> None:
        async with listening(self.settings, SERVICE, self.build, stopped=stopped) as at:
            self.ready.set_result(at)
            await self.leave.wait()


@asynccontextmanager
async def running(echo: Echo, **settings):
    at = Running(echo.build, **settings)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(at.run())
        port = (await at.ready).port
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                yield at, channel, task
            except BaseException:
                task.cancel()  # a failed test waits for no grace
                raise
            finally:
                at.leave.set()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def health(channel, service: str) -> int:
    check = health_pb2_grpc.HealthStub(channel).Check
    return (await check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)).status


async def opened(channel, model: str = ""):
    call = asr_pb2_grpc.AsrServiceStub(channel).Transcribe()
    await call.write(config(model))
    assert (await call.read()).ready.stream_id
    return call


async def echoed(call, text: str) -> str:
    await call.write(say(text))
    return (await call.read()).transcript.text


async def test_while_the_model_loads_health_says_so_and_streams_are_sent_elsewhere(echo):
    may_load, port = asyncio.Event(), free_port()

    @asynccontextmanager
    async def slow(host):
        await may_load.wait()
        async with echo.build(host) as register:
            yield register

    at = Running(slow, bind=f"127.0.0.1:{port}")
    async with asyncio.TaskGroup() as tasks, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        tasks.create_task(at.run())
        await channel.channel_ready()
        for name in ("", SERVICE):
            assert await health(channel, name) == NOT_SERVING
        stub = asr_pb2_grpc.AsrServiceStub(channel)
        _, error = await collect(stub.Transcribe(iter([config()])))
        assert (error.code(), error_reason(error)) == (grpc.StatusCode.UNAVAILABLE, "LOADING")
        may_load.set()
        await at.ready
        for name in ("", SERVICE):
            assert await health(channel, name) == SERVING
        assert await echoed(await opened(channel), "hello") == "hello"
        at.leave.set()


async def test_health_knows_only_the_service_and_the_whole(served):
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await health(served.channel, "antiphon.tts.v1.TtsService")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_service(served):
    info = reflection_pb2_grpc.ServerReflectionStub(served.channel).ServerReflectionInfo
    [reply] = [r async for r in info(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))]
    assert SERVICE in [service.name for service in reply.list_services_response.service]


@pytest.mark.parametrize("what", ["bind", "metrics_bind"])
async def test_a_port_in_use_is_named(echo, what):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=address):
            await Running(echo.build, **{what: address}).run()


async def test_an_error_of_the_build_keeps_its_own_words_and_frees_the_port():
    port = free_port()

    @asynccontextmanager
    async def broken(host):
        raise FileNotFoundError("weights.onnx")
        yield

    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"weights.onnx"):
            await Running(broken, bind=f"127.0.0.1:{port}", metrics_bind="127.0.0.1:0").run()


async def test_metrics_are_served_over_http(echo):
    async with running(echo, metrics_bind="127.0.0.1:0") as (at, channel, _):
        call = await opened(channel)
        url = f"http://127.0.0.1:{at.ready.result().metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
        call.cancel()
    assert 'antiphon_rpc_active{method="Transcribe"} 1.0' in text
    assert "antiphon_echo_slots_total 100.0" in text


async def test_a_drain_announces_itself_serves_on_and_then_waits_for_open_streams(echo):
    async with running(echo, drain_s=1.5, grace_s=30.0) as (at, channel, task):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == SERVING
        old = await opened(channel)
        at.leave.set()
        assert (await watch.read()).status == NOT_SERVING
        assert 30_000 < await echoed_draining(old) <= 31_500
        new = await opened(channel)  # still served
        assert 30_000 < await echoed_draining(new) <= 31_500
        assert await echoed(new, "new") == "new"
        await new.done_writing()
        assert await new.read() is grpc.aio.EOF
        await refused_from_now_on(channel)
        assert await echoed(old, "old") == "old"  # in its grace
        assert not task.done()
        await old.done_writing()
        assert await old.read() is grpc.aio.EOF
        assert await old.code() is grpc.StatusCode.OK
        left = time.monotonic()
        await task  # an open health watch does not hold it
        assert time.monotonic() - left < 25.0


async def echoed_draining(call) -> int:
    event = await call.read()
    assert event.WhichOneof("event") == "draining"
    return event.draining.deadline_ms


async def refused_from_now_on(channel) -> None:
    stub = asr_pb2_grpc.AsrServiceStub(channel)
    while True:
        _, error = await collect(stub.Transcribe(iter([config()])))
        if error:
            assert error.code() in ELSEWHERE
            return


async def test_when_the_grace_is_over_streams_end_before_the_model_does(echo):
    async with running(echo, grace_s=0.1) as (at, channel, task):
        call = await opened(channel, "slow cleanup")
        at.leave.set()
        assert await echoed_draining(call) <= 100
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        await task
    assert echo.happened == ["stream cancelled", "model closed"]


async def test_cancelled_in_its_grace_a_server_still_ends_streams_before_the_model(echo):
    async with running(echo, grace_s=30.0) as (at, channel, task):
        call = await opened(channel, "slow cleanup")
        at.leave.set()
        await echoed_draining(call)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
    assert echo.happened == ["stream cancelled", "model closed"]


async def test_with_no_stream_open_a_long_grace_is_not_waited_for(echo):
    began = time.monotonic()
    async with running(echo, grace_s=600.0) as (_, channel, _):
        await (await opened(channel)).done_writing()
    assert time.monotonic() - began < 60.0


async def test_told_to_stop_while_it_loads_a_server_never_serves(echo):
    at, stopped = Running(echo.build, drain_s=600.0, grace_s=600.0), asyncio.Event()
    stopped.set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(at.run(stopped))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{(await at.ready).port}") as channel:
            assert await health(channel, SERVICE) == NOT_SERVING
        at.leave.set()


async def test_a_server_leaves_no_task_behind(echo):
    before = asyncio.all_tasks()
    async with running(echo, grace_s=0.0) as (_, channel, _):
        await opened(channel)
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_liveness_outlasts_readiness_and_health_alone_is_served_beside_the_service(echo):
    port = free_port()
    async with (
        running(echo, grace_s=5.0, health_bind=f"127.0.0.1:{port}") as (at, channel, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as beside,
    ):
        call = asr_pb2_grpc.AsrServiceStub(channel).Transcribe()
        await call.write(config())
        await call.read()
        for asked in (channel, beside):
            assert await health(asked, SERVICE) == await health(asked, LIVENESS) == SERVING
        _, error = await collect(asr_pb2_grpc.AsrServiceStub(beside).Transcribe(iter([config()])))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        at.leave.set()
        await eventually(lambda: at.ready.result().host.drain.started.is_set())
        # The service's own port takes no new calls in the grace; the kubelet is still answered.
        assert (await health(beside, SERVICE), await health(beside, LIVENESS)) == (NOT_SERVING, SERVING)
        await call.done_writing()


async def test_a_health_port_that_is_taken_is_refused(echo):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot serve health on"):
            async with listening(
                ServerSettings(bind="127.0.0.1:0", health_bind=f"127.0.0.1:{taken.getsockname()[1]}"),
                SERVICE,
                echo.build,
            ):
                pass
