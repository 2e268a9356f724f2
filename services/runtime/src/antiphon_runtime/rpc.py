"""What happens around every streaming RPC: one metric, one span, one error mapping, one log line, one name."""

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import propagate, trace

from .auth import Verifier
from .errors import BackendFailed, ServiceError, root_cause
from .metrics import RpcMetrics

log = logging.getLogger(__name__)

_stream_id: ContextVar[str] = ContextVar("stream_id", default="")


def stream_id() -> str:
    """The name of the RPC that the caller runs in, "" outside of one. Logs, spans and `ready` carry it."""
    return _stream_id.get()


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the streaming RPCs of our services; health and reflection pass untouched, tokens aside."""

    def __init__(self, metrics: RpcMetrics, domain: str, verifier: Verifier | None = None) -> None:
        self._metrics = metrics
        self._domain = domain
        self._verifier = verifier
        self._tracer = trace.get_tracer("antiphon")

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None or handler.stream_stream is None or details.method.startswith("/grpc.health."):
            return handler
        return grpc.stream_stream_rpc_method_handler(
            self._wrap(handler.stream_stream, details.method.strip("/")),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _wrap(self, handle: Any, path: str) -> Any:
        if path.startswith("grpc."):

            async def passed(requests: Any, context: Any) -> None:
                try:
                    self._authenticate(dict(context.invocation_metadata() or ()))
                except ServiceError as error:
                    await self._abort(context, error)
                async for reply in handle(requests, context):
                    await context.write(reply)

            return passed

        async def handled(requests: Any, context: Any) -> None:
            metadata = dict(context.invocation_metadata() or ())
            with self._observed(path, metadata) as outcome:
                try:
                    self._authenticate(metadata)
                    await handle(requests, context)
                    outcome[0] = "ok"
                except Exception as raised:
                    cause = root_cause(raised)
                    if not isinstance(cause, ServiceError):
                        log.error("unexpected error in %s", path, exc_info=cause)
                        cause = BackendFailed("unexpected error")
                    outcome[0] = cause.reason.lower()
                    await self._abort(context, cause)

        return handled

    def _authenticate(self, metadata: dict[str, Any]) -> None:
        if self._verifier:
            self._verifier.verify(str(metadata.get("authorization", "")))

    @contextmanager
    def _observed(self, path: str, metadata: dict[str, Any]) -> Iterator[list[str]]:
        method = path.rpartition("/")[2]
        started, outcome = time.monotonic(), ["cancelled"]
        name = uuid.uuid4().hex[:16]
        token = _stream_id.set(name)
        self._metrics.active.labels(method).inc()
        attributes = {"antiphon.stream.id": name, "antiphon.session.id": str(metadata.get("x-session-id", ""))}
        parent = propagate.extract({key: str(value) for key, value in metadata.items()})
        try:
            with self._tracer.start_as_current_span(
                path, context=parent, kind=trace.SpanKind.SERVER, attributes=attributes
            ) as span:
                yield outcome
                span.set_attribute("antiphon.outcome", outcome[0])
        finally:
            seconds = time.monotonic() - started
            self._metrics.active.labels(method).dec()
            self._metrics.seconds.labels(method, outcome[0]).observe(seconds)
            log.info("%s %s after %.3f s", method, outcome[0], seconds)
            _stream_id.reset(token)

    async def _abort(self, context: Any, error: ServiceError) -> None:
        await context.abort(error.code, str(error), _details(error, self._domain))


def _details(error: ServiceError, domain: str) -> tuple[tuple[str, bytes], ...]:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=domain))
    status = status_pb2.Status(code=error.code.value[0], message=str(error), details=[info])
    return (("grpc-status-details-bin", status.SerializeToString()),)


def error_reason(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo reason in an error's trailers, "" when it carries none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
