"""How the service is put together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc
from antiphon_runtime.plugin import resolve
from antiphon_runtime.server import Build, Host, Register

from .backends import BACKENDS, Synthesizer
from .metrics import TtsMetrics
from .reply import Clock
from .servicer import TtsServicer
from .settings import Settings

SERVICE: str = tts_pb2.DESCRIPTOR.services_by_name["TtsService"].full_name


def build(
    settings: Settings, *, load: Callable[[Settings], Synthesizer] | None = None, clock: Clock | None = None
) -> Build:
    """Loads the backend that `settings` name (or `load`'s), and serves it. Raises ConfigError when it cannot."""

    @asynccontextmanager
    async def built(host: Host) -> AsyncIterator[Register]:
        loading = load or resolve(settings.backend, BACKENDS).load
        synthesizer: Synthesizer = await asyncio.to_thread(loading, settings)
        try:
            synthesizer.attach(host)
            metrics = TtsMetrics.register(host.registry)
            servicer = TtsServicer(synthesizer, settings, metrics, clock or Clock())

            def register(server: grpc.aio.Server) -> None:
                tts_pb2_grpc.add_TtsServiceServicer_to_server(servicer, server)

            yield register
        finally:
            await asyncio.to_thread(synthesizer.close)

    return built
