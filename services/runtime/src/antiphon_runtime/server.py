"""One way to run a gRPC service: serve health, load, say ready, drain, stop."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from . import tls
from .auth import Verifier, read_secret
from .errors import ConfigError
from .logs import set_up_logging
from .metrics import RpcMetrics, metrics_endpoint
from .rpc import RpcInterceptor
from .settings import ServerSettings
from .stream import Drain

log = logging.getLogger(__name__)

SERVER_OPTIONS = [
    # Otherwise two processes share a port in silence.
    ("grpc.so_reuseport", 0),
    # Our clients ping this often to notice a dead peer; the default would call that abuse.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class Host:
    """What a service is given to build itself with."""

    registry: CollectorRegistry
    drain: Drain


Register = Callable[[grpc.aio.Server], None]
# Loads and warms the model, gives what adds the servicer to a server, and lets go of the model at the end.
Build = Callable[[Host], AbstractAsyncContextManager[Register]]


@dataclass(frozen=True)
class Listening:
    """A service that is ready."""

    port: int
    metrics_port: int | None
    host: Host


@asynccontextmanager
async def listening(
    settings: ServerSettings, service: str, build: Build, registry: CollectorRegistry | None = None
) -> AsyncIterator[Listening]:
    """Serves `service` (its full proto name) until the context ends, then drains as `settings` say.

    Health answers NOT_SERVING while the model loads. Raises ConfigError when the port is taken, a credential
    cannot be read, or the backend refuses its configuration.
    """
    host = Host(registry or CollectorRegistry(), Drain(settings.grace_s))
    verifier = Verifier(read_secret(settings.token_secret_file), service) if settings.token_secret_file else None
    interceptor = RpcInterceptor(RpcMetrics.register(host.registry), service, verifier)
    server = grpc.aio.server(interceptors=[interceptor], options=SERVER_OPTIONS)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = _bind(server, settings)
    await _report(health, service, NOT_SERVING)
    await server.start()
    try:
        with _metrics(settings.metrics_bind, host.registry) as metrics_port:
            async with build(host) as register:
                register(server)
                reflection.enable_server_reflection((service, reflection.SERVICE_NAME), server)
                await _report(health, service, SERVING)
                try:
                    yield Listening(port, metrics_port, host)
                finally:
                    await health.enter_graceful_shutdown()  # readiness fails, traffic moves away
                    host.drain.started.set()
                    await asyncio.sleep(settings.drain_s)
                    await server.stop(settings.grace_s)  # open streams may finish
    finally:
        await server.stop(0)


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    try:
        if settings.tls_cert_file and settings.tls_key_file:
            credentials = tls.server_credentials(
                settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
            )
            return server.add_secure_port(settings.bind, credentials)
        return server.add_insecure_port(settings.bind)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {settings.bind}: is the port in use?") from error


@contextmanager
def _metrics(bind: str, registry: CollectorRegistry) -> Iterator[int | None]:
    try:
        with metrics_endpoint(bind, registry) as port:
            yield port
    except OSError as error:
        raise ConfigError(f"cannot serve metrics on {bind}: {error.strerror or error}") from error


async def _report(health: health_aio.HealthServicer, service: str, status: Any) -> None:
    for name in ("", service):
        await health.set(name, status)


async def serve(settings: ServerSettings, service: str, build: Build) -> None:
    """Serves until SIGTERM or SIGINT; a second signal ends the grace at once."""
    stopped, main = asyncio.Event(), asyncio.current_task()

    def on_signal() -> None:
        if stopped.is_set() and main:
            main.cancel()
        stopped.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, on_signal)
    async with listening(settings, service, build) as at:
        log.info("%s is ready on port %s (backend %s)", service, at.port, settings.backend)
        await stopped.wait()
        log.info("%s drains", service)


def run(read: Callable[[], ServerSettings], service: str, build: Callable[[ServerSettings], Build]) -> None:
    """A service's `main`. Exits 0 after a drain, 2 when something is not configured as it must be."""
    try:
        settings = read()
        set_up_logging(settings.log_format, settings.log_level)
        asyncio.run(serve(settings, service, build(settings)))
    except ConfigError as error:
        print(f"{service}: {error}", file=sys.stderr)
        sys.exit(2)
    except asyncio.CancelledError:
        sys.exit(1)
