import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from antiphon.asr.v1 import asr_pb2_grpc

from .echo import config, say


class Process:
    """The echo service as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0

    async def said(self, words: str) -> str:
        """The first line on stderr from now on that holds `words`."""
        while line := (await self.process.stderr.readline()).decode():
            if words in line:
                return line
        raise AssertionError(f"ended without saying {words!r}")

    async def is_ready(self) -> None:
        self.port = int((await self.said("is ready on port")).split(" on port ")[1].split()[0])


@asynccontextmanager
async def started(**settings: str) -> AsyncIterator[Process]:
    environ = {f"ANTIPHON_ECHO_{name.upper()}": str(value) for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("echo.py"), env=os.environ | environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def stream(port: int):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = asr_pb2_grpc.AsrServiceStub(channel).Transcribe()
        await call.write(config())
        await call.read()
        yield call


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_then_the_process_exits_0(signum):
    async with started(grace_s=60) as server:
        await server.is_ready()
        async with stream(server.port) as call:
            server.process.send_signal(signum)
            assert (await call.read()).WhichOneof("event") == "draining"
            await call.write(say("still here"))
            assert (await call.read()).transcript.text == "still here"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
        assert await server.process.wait() == 0


async def test_a_second_signal_ends_the_grace_at_once():
    async with started(grace_s=600) as server:
        await server.is_ready()
        async with stream(server.port) as call:
            server.process.terminate()
            assert (await call.read()).WhichOneof("event") == "draining"
            server.process.terminate()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await server.process.wait() == 1


async def test_a_process_whose_model_is_lost_says_so_and_ends_with_1():
    async with started(drain_s=600, grace_s=0) as server:
        await server.is_ready()
        async with stream(server.port) as call:
            await call.write(say("lose"))
            await server.said("antiphon.asr.v1.AsrService: the model is lost")
        assert await server.process.wait() == 1


async def test_a_signal_while_it_loads_ends_the_process_once_that_is_done(tmp_path):
    fifo = tmp_path / "load"
    os.mkfifo(fifo)
    async with started(load_fifo=fifo, drain_s=600, grace_s=600, log_level="DEBUG") as server:
        writer = await asyncio.to_thread(fifo.open, "w")  # opens when the server has begun to read
        server.process.terminate()
        await server.said("is told to stop")
        await asyncio.to_thread(writer.close)
        assert await server.process.wait() == 0
        assert b"is ready" not in await server.process.stderr.read()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"slost": "3"}, "unknown setting ANTIPHON_ECHO_SLOST: known are"),
        ({"slots": "0"}, "ANTIPHON_ECHO_SLOTS: Input should be greater than or equal to 1 (got '0')"),
        ({"bind": "0.0.0.0:0"}, "token_secret_file"),
        ({"token_secret_file": "/nowhere/secret"}, "/nowhere/secret cannot be read"),
    ],
)
async def test_a_wrong_setting_is_exit_2_and_one_line_on_stderr(setting, words):
    async with started(**setting) as server:
        said = (await server.process.stderr.read()).decode()
        assert await server.process.wait() == 2
    assert said.startswith("antiphon.asr.v1.AsrService: ")
    assert words in said
    assert said.count("\n") == 1
