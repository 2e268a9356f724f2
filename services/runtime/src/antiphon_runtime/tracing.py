"""Where this process's spans go: over OTLP to a collector, or nowhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# A collector that is away must not hold up the end of a process for long.
EXPORT_S = 2.0


@contextmanager
def tracing(service: str, otlp_url: str) -> Iterator[None]:
    """For a process's whole life: traces of `service`, sent to `otlp_url` ("http://collector:4318"; empty: to nobody).

    Ids are made either way, so that logs, exemplars and timelines can name a turn's trace. Sampling and batching are
    set by OpenTelemetry's own variables.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    if otlp_url:
        exporter = OTLPSpanExporter(endpoint=f"{otlp_url.rstrip('/')}/v1/traces", timeout=EXPORT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
