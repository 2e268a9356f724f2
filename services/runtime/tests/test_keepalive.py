"""That idle connections are kept, with every time fifty times shorter."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from antiphon_runtime.pool import CHANNEL_OPTIONS
from antiphon_runtime.server import SERVER_OPTIONS

pytestmark = pytest.mark.slow


def faster(options: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value // 50 if name.endswith("_ms") else value) for name, value in options]


async def test_the_pings_of_an_idle_client_are_not_taken_for_abuse() -> None:
    server = grpc.aio.server(options=faster(SERVER_OPTIONS))
    health_pb2_grpc.add_HealthServicer_to_server(health_aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=faster(CHANNEL_OPTIONS)) as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            with pytest.raises(TimeoutError):  # a server that feels abused ends the connection within three seconds
                async with asyncio.timeout(5):
                    await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            assert channel.get_state() is grpc.ChannelConnectivity.READY
    finally:
        await server.stop(0)
