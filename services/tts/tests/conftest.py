"""A served voice, and what a caller hears of it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc
from antiphon_runtime.testing import Served, collect, serving
from antiphon_tts.service import SERVICE, build
from antiphon_tts.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))

PCM = audio_pb2.AUDIO_ENCODING_PCM_S16LE
REAL = pytest.param("hibari", marks=[pytest.mark.real, pytest.mark.skipif(not find_spec("hibari"), reason="no hibari")])


@dataclass
class Heard:
    """A reply as its caller got it."""

    events: list[Any]
    error: grpc.aio.AioRpcError | None

    def kind(self, name: str) -> list[Any]:
        return [getattr(event, name) for event in self.events if event.WhichOneof("event") == name]

    @property
    def pcm(self) -> bytes:
        return b"".join(audio.pcm for audio in self.kind("audio"))

    @property
    def samples(self) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.pcm, "<i2")

    @property
    def words(self) -> list[str]:
        return [spoken.text for spoken in self.kind("spoken")]


@dataclass
class Tts:
    """A running service."""

    served: Served
    loaded: list[Any] = field(default_factory=list)

    def call(self, requests: Any = None) -> Any:
        return tts_pb2_grpc.TtsServiceStub(self.served.channel).Synthesize(requests)

    @staticmethod
    def config(**fields: Any) -> tts_pb2.SynthesizeRequest:
        rate, encoding = fields.pop("rate", 16000), fields.pop("encoding", PCM)
        audio = audio_pb2.AudioFormat(encoding=encoding, sample_rate_hz=rate)
        return tts_pb2.SynthesizeRequest(config=tts_pb2.SynthesizeConfig(audio=audio, **fields))

    @staticmethod
    def request(item: Any) -> tts_pb2.SynthesizeRequest:
        """A string is text, a number a flush with that mark."""
        if isinstance(item, str):
            return tts_pb2.SynthesizeRequest(text=item)
        return tts_pb2.SynthesizeRequest(flush=tts_pb2.Flush(mark=item)) if isinstance(item, int) else item

    async def hear(self, *items: Any, **fields: Any) -> Heard:
        requests = [self.config(**fields), *map(self.request, items)]
        return Heard(*await collect(self.call(iter(requests))))

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        """Waits for what nothing signals. Raises TimeoutError after ten seconds."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def idle(self) -> None:
        """Waits until no stream is open."""
        await self.until(lambda: not self.served.sample("antiphon_rpc_active", method="Synthesize"))

    async def raw(self, *requests: Any) -> Heard:
        return Heard(*await collect(self.call(iter(requests))))


Serve = Callable[..., AbstractAsyncContextManager[Tts]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def started(backend: str = "stub", *, clock: Any = None, **settings: Any) -> AsyncIterator[Tts]:
        chosen = Settings(bind="127.0.0.1:0", backend=backend, grace_s=0.0, **settings)
        loaded: list[Any] = []

        def load(given: Settings) -> Any:
            from antiphon_runtime.plugin import resolve
            from antiphon_tts.backends import BACKENDS

            loaded.append(resolve(given.backend, BACKENDS).load(given))
            return loaded[0]

        async with serving(SERVICE, build(chosen, load=load, clock=clock), chosen) as served:
            yield Tts(served, loaded)

    return started


@pytest.fixture
async def stub(serve: Serve) -> AsyncIterator[Tts]:
    async with serve("stub") as tts:
        yield tts


@pytest.fixture(params=["stub", REAL])
async def tts(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Tts]:
    """Every installed backend in turn."""
    async with serve(request.param, slots=2, ahead_s=600) as served:
        yield served
