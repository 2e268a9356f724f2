"""Recognizers to measure: the real service on its stub, and one that does as it is told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon_asr.service import SERVICE, build
from antiphon_asr.settings import read
from antiphon_bench.asr.stream import connected
from antiphon_runtime.client import Replicas
from antiphon_runtime.testing import serving

StubAsr = Callable[..., AbstractAsyncContextManager[Replicas]]


@pytest.fixture
def stub_asr(monkeypatch: pytest.MonkeyPatch) -> StubAsr:
    """Serves the stub, which hears `script` in every stream that is not silent, on `slots` slots."""

    @asynccontextmanager
    async def served(script: str = "Hello there.", slots: int = 4) -> AsyncIterator[Replicas]:
        monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", script)
        settings = read(bind="127.0.0.1:0", backend="stub", slots=slots, grace_s=0.0)
        async with serving(SERVICE, build(settings), settings) as at, connected([at.target]) as replicas:
            yield replicas

    return served


@asynccontextmanager
async def told(behave: Callable[[Any, Any], Awaitable[None]]) -> AsyncIterator[Replicas]:
    """Serves a recognizer that is ready and then behaves as `behave(requests, context)` does."""

    class Servicer(asr_pb2_grpc.AsrServiceServicer):
        async def Transcribe(self, requests: Any, context: Any) -> None:  # type: ignore[override]
            config = (await anext(requests)).config
            await context.write(asr_pb2.TranscribeResponse(ready=asr_pb2.Ready(config=config)))
            await behave(requests, context)

    @asynccontextmanager
    async def built(_host: Any) -> AsyncIterator[Any]:
        yield lambda server: asr_pb2_grpc.add_AsrServiceServicer_to_server(Servicer(), server)

    async with serving(SERVICE, built) as at, connected([at.target]) as replicas:
        yield replicas


@pytest.fixture
def told_asr() -> Callable[[Callable[[Any, Any], Awaitable[None]]], AbstractAsyncContextManager[Replicas]]:
    return told
