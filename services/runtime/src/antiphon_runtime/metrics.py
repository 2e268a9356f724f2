"""Metrics every service has. A service adds its own beside its servicer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, start_http_server

from .errors import ConfigError

# One ladder for every latency, 10 ms to 10 s, so that panels can be laid over each other.
LATENCY_BUCKETS = (
    *(0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0),
)
STREAM_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 180, 600, 1800, 3600)


@dataclass(frozen=True)
class RpcMetrics:
    """Open streams, and how long each stayed open by how it ended."""

    active: Gauge
    seconds: Histogram

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "RpcMetrics":
        return cls(
            active=Gauge("antiphon_rpc_active", "RPCs now open.", ["method"], registry=registry),
            seconds=Histogram(
                "antiphon_rpc_seconds",
                "How long an RPC stayed open, and how it ended.",
                ["method", "outcome"],
                buckets=STREAM_BUCKETS,
                registry=registry,
            ),
        )


@dataclass(frozen=True)
class SlotMetrics:
    """How many streams a model holds, of how many it can."""

    used: Gauge
    total: Gauge

    @classmethod
    def register(cls, registry: CollectorRegistry, service: str) -> "SlotMetrics":
        return cls(
            used=Gauge(f"antiphon_{service}_slots_used", "Model slots held by streams.", registry=registry),
            total=Gauge(f"antiphon_{service}_slots_total", "Model slots there are.", registry=registry),
        )


@contextmanager
def metrics_endpoint(address: str, registry: CollectorRegistry) -> Iterator[int | None]:
    """Serves `registry`, and what the process uses, at `address` ("host:port"; empty: not at all) and gives the port.

    Raises ConfigError when it cannot listen there.
    """
    if not address:
        yield None
        return
    host, _, port = address.rpartition(":")
    process = ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"cannot serve metrics on {address}: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        registry.unregister(process)
