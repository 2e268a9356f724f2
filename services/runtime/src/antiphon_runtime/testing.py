"""A real service on a free port, for tests of any package."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from .server import Build, Host, listening
from .settings import ServerSettings


@dataclass(frozen=True)
class Served:
    """A running service, a channel to it and its metrics."""

    port: int
    channel: grpc.aio.Channel
    host: Host

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value, 0 when it was never set."""
        return self.host.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(service: str, build: Build, settings: ServerSettings | None = None) -> AsyncIterator[Served]:
    """Serves `build` on a free loopback port until the context ends, then stops at once."""
    settings = settings or ServerSettings(bind="127.0.0.1:0", grace_s=0.0)
    async with (
        listening(settings, service, build, CollectorRegistry()) as at,
        grpc.aio.insecure_channel(f"127.0.0.1:{at.port}") as channel,
    ):
        yield Served(at.port, channel, at.host)


async def collect(call: Any) -> tuple[list[Any], grpc.aio.AioRpcError | None]:
    """Every event of a call, and the error that ended it if one did."""
    events: list[Any] = []
    try:
        async for event in call:
            events.append(event)
    except grpc.aio.AioRpcError as error:
        return events, error
    return events, None
