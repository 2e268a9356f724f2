"""One way to run a gRPC service: serve health, load, say ready, drain, stop."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from . import tls
from .auth import Verifier, read_secret
from .errors import ConfigError, ModelLost, root_cause
from .logs import set_up_logging
from .metrics import RpcMetrics, metrics_endpoint
from .rpc import RpcInterceptor
from .settings import ServerSettings
from .stream import Drain
from .tracing import tracing

log = logging.getLogger(__name__)

S = TypeVar("S", bound=ServerSettings)

SERVER_OPTIONS = [
    # Otherwise two processes share a port in silence.
    ("grpc.so_reuseport", 0),
    # Our clients ping this often to notice a dead peer; the default would call that abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A caller that vanished without a word gives its slot back after time + timeout, not after two hours.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]
# How long handlers may take to clean up once their streams have been ended.
CLEANUP_S = 5.0
# How long the last statuses may take to be sent.
LAST_WORDS_S = 0.5
# Health under this name only says that the process runs: it is SERVING while the model loads, and while it drains.
LIVENESS = "liveness"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class Host:
    """What a service is given to build itself with.

    A service sets `lost` when its model is gone for good: the process then says so and ends with 1, to be restarted.
    """

    registry: CollectorRegistry
    drain: Drain
    lost: asyncio.Event = field(default_factory=asyncio.Event)


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
    settings: ServerSettings,
    service: str,
    build: Build,
    registry: CollectorRegistry | None = None,
    *,
    stopped: asyncio.Event | None = None,
) -> AsyncIterator[Listening]:
    """Serves `service` (its full proto name) until the context ends, then drains as `settings` say.

    Health answers NOT_SERVING, and the service UNAVAILABLE, while the model loads, and ever after when `stopped` was
    set meanwhile. Raises ConfigError when the port is taken, a credential cannot be read, or the backend refuses its
    configuration.
    """
    host = Host(registry or CollectorRegistry(), Drain(settings.grace_s))
    verifier = Verifier(read_secret(settings.token_secret_file), service) if settings.token_secret_file else None
    interceptor = RpcInterceptor(RpcMetrics.register(host.registry), service, verifier)
    interceptor.loading = True
    server = grpc.aio.server(interceptors=[interceptor], options=SERVER_OPTIONS)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = _bind(server, settings)
    await health.set(LIVENESS, SERVING)
    await _report(health, service, NOT_SERVING)
    await server.start()
    try:
        with metrics_endpoint(settings.metrics_bind, host.registry) as metrics_port:
            async with _health_alone(settings.health_bind, health), build(host) as register:
                wanted = not (stopped and stopped.is_set())
                if wanted:
                    register(server)
                    reflection.enable_server_reflection((service, reflection.SERVICE_NAME), server)
                    interceptor.loading = False
                    await _report(health, service, SERVING)
                try:
                    yield Listening(port, metrics_port, host)
                finally:
                    await _report(health, service, NOT_SERVING)  # readiness fails, traffic moves away
                    useful = wanted and not host.lost.is_set()
                    await _drain(server, interceptor, host.drain, settings.drain_s if useful else 0.0)
    finally:
        await server.stop(0)


async def _drain(server: grpc.aio.Server, interceptor: RpcInterceptor, drain: Drain, drain_s: float) -> None:
    """Serves on for `drain_s`, lets open streams finish in the grace, and returns when no handler needs the model."""
    try:
        drain.start(drain_s + drain.grace_s)
        await asyncio.sleep(drain_s)
        await _stop(server, interceptor, drain.grace_s)
    finally:
        await server.stop(0)
        try:
            await asyncio.wait_for(interceptor.idle(), CLEANUP_S)
        except TimeoutError:
            log.error("handlers still run %g s after their streams were ended", CLEANUP_S)


async def _stop(server: grpc.aio.Server, interceptor: RpcInterceptor, grace_s: float) -> None:
    """Refuses new streams and waits for the open ones, but not for health watches, which never end."""
    stopping = asyncio.create_task(server.stop(grace_s), name="stop server")
    idle = asyncio.create_task(interceptor.idle(), name="streams end")
    try:
        await asyncio.wait((stopping, idle), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((stopping,), timeout=LAST_WORDS_S)
    finally:
        for task in (stopping, idle):
            task.cancel()
        await asyncio.gather(stopping, idle, return_exceptions=True)


@asynccontextmanager
async def _health_alone(bind: str, health: health_aio.HealthServicer) -> AsyncIterator[None]:
    """Serves `health`, and nothing else, at `bind` without TLS or token: a kubelet's probes speak neither."""
    if not bind:
        yield
        return
    server = grpc.aio.server(options=SERVER_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    try:
        server.add_insecure_port(bind)
    except RuntimeError as error:
        raise ConfigError(f"cannot serve health on {bind}: is the port in use?") from error
    await server.start()
    try:
        yield
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


async def _report(health: health_aio.HealthServicer, service: str, status: Any) -> None:
    for name in ("", service):
        await health.set(name, status)


async def serve(settings: ServerSettings, service: str, build: Build) -> None:
    """Serves until SIGTERM or SIGINT; a second signal ends the loading or the grace at once."""
    stopped, main = asyncio.Event(), asyncio.current_task()

    def on_signal() -> None:
        if stopped.is_set() and main:
            main.cancel()
        stopped.set()
        log.info("%s is told to stop", service)

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, on_signal)
    async with listening(settings, service, build, stopped=stopped) as at:
        if not stopped.is_set():
            log.info("%s is ready on port %s (backend %s)", service, at.port, settings.backend)
        await _first(stopped, at.host.lost)
        if at.host.lost.is_set():
            raise ModelLost("the model is lost")
        log.info("%s drains", service)


async def _first(*events: asyncio.Event) -> None:
    """Returns once one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def run(read: Callable[[], S], service: str, build: Callable[[S], Build]) -> None:
    """A service's `main`. Exits 0 after a drain, 1 if that was cut short or the model lost, 2 for a bad setting."""
    try:
        settings = read()
        set_up_logging(settings.log_format, settings.log_level)
        # "antiphon.asr.v1.AsrService" is antiphon-asr.
        with tracing("-".join(service.split(".")[:2]), settings.otlp_url):
            asyncio.run(serve(settings, service, build(settings)))
    except asyncio.CancelledError:
        sys.exit(1)
    except Exception as error:
        cause = root_cause(error)  # a `build` with a task group wraps it
        if not isinstance(cause, ConfigError | ModelLost):
            raise
        print(f"{service}: {cause}", file=sys.stderr)
        sys.exit(2 if isinstance(cause, ConfigError) else 1)
