"""A collector that keeps what it is sent: OTLP over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from antiphon_bench.testing.collector import collecting as served


@dataclass(frozen=True)
class Received:
    """A span, its ids as hex digits; `linked` are the traces that it links to."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    linked: tuple[str, ...]
    attributes: dict[str, object] = field(compare=False)


@dataclass
class Collector:
    url: str
    spans: list[Received] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[Received]:
        return [span for span in self.spans if span.trace_id == trace_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector until the context ends."""
    collector = Collector("")

    def take(body: bytes) -> None:
        collector.spans += _spans(ExportTraceServiceRequest.FromString(body))

    with served(take) as collector.url:
        yield collector


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(
                    about["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    tuple(link.trace_id.hex() for link in span.links),
                    {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
                )
