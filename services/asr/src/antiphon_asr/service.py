"""The service as the runtime hosts it: a loaded model and the servicer over it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime.plugin import resolve
from antiphon_runtime.server import Build, Host, Register
from antiphon_runtime.slots import Slots

from .backends import BACKENDS, Recognizer
from .metrics import AsrMetrics
from .servicer import AsrServicer
from .settings import Settings

SERVICE = "antiphon.asr.v1.AsrService"


def build(settings: Settings) -> Build:
    """Loads the backend that `settings` name. Raises ConfigError when it or its weights are not there."""

    @asynccontextmanager
    async def built(host: Host) -> AsyncIterator[Register]:
        backend = resolve(settings.backend, BACKENDS)
        recognizer: Recognizer = await asyncio.to_thread(backend.load, settings)
        try:
            recognizer.attach(host)
            metrics = AsrMetrics.register(host.registry, recognizer.work)
            slots = Slots(settings.slots or recognizer.default_slots, metrics.slots)
            servicer = AsrServicer(recognizer, slots, host.drain, metrics)

            def register(server: grpc.aio.Server) -> None:
                asr_pb2_grpc.add_AsrServiceServicer_to_server(servicer, server)

            yield register
        finally:
            await asyncio.to_thread(recognizer.close)

    return built
