"""The service, ready to be hosted by antiphon_runtime.server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from antiphon.turn.v1 import turn_pb2_grpc
from antiphon_runtime.metrics import SlotMetrics
from antiphon_runtime.plugin import resolve
from antiphon_runtime.server import Build, Host, Register
from antiphon_runtime.slots import Slots

from .backends import BACKENDS, Detector
from .metrics import TurnMetrics
from .servicer import TurnServicer
from .settings import Settings

SERVICE = "antiphon.turn.v1.TurnService"


def build(settings: Settings) -> Build:
    """Loads and warms the backend that `settings` name, and lets go of it at the end. Raises ConfigError."""

    @asynccontextmanager
    async def built(host: Host) -> AsyncIterator[Register]:
        backend = resolve(settings.backend, BACKENDS)
        detector: Detector = await asyncio.to_thread(backend.load, settings)
        slots = Slots(settings.slots, SlotMetrics.register(host.registry, "turn"))
        servicer = TurnServicer(detector, slots, host.drain, TurnMetrics.register(host.registry))
        try:
            yield lambda server: turn_pb2_grpc.add_TurnServiceServicer_to_server(servicer, server)
        finally:
            detector.close()

    return built
