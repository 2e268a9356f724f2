"""The service as the runtime hosts it: a loaded model and the servicer over it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from antiphon.llm.v1 import llm_pb2_grpc
from antiphon_runtime.plugin import resolve
from antiphon_runtime.server import Build, Host, Register

from .backends import BACKENDS, Model
from .metrics import LlmMetrics
from .servicer import LlmServicer
from .settings import Settings

SERVICE = "antiphon.llm.v1.LlmService"


def build(settings: Settings, *, load: Callable[[Settings], Model] | None = None) -> Build:
    """Loads the backend that `settings` name, or `load`'s. Raises ConfigError when it or its weights are not there."""

    @asynccontextmanager
    async def built(host: Host) -> AsyncIterator[Register]:
        model: Model = await asyncio.to_thread(load or resolve(settings.backend, BACKENDS).load, settings)
        try:
            model.attach(host)
            servicer = LlmServicer(model, settings, LlmMetrics.register(host.registry))

            def register(server: grpc.aio.Server) -> None:
                llm_pb2_grpc.add_LlmServiceServicer_to_server(servicer, server)

            yield register
        finally:
            await asyncio.to_thread(model.close)

    return built
