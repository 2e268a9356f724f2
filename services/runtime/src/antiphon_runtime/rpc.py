"""What happens around every streaming RPC: one metric, one span, one error mapping, one log line, one name."""

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import propagate, trace

from .auth import Verifier
from .calls import Call, working_for
from .errors import BackendFailed, ServiceError, Unavailable, root_cause
from .metrics import RpcMetrics

log = logging.getLogger(__name__)

_stream_id: ContextVar[str] = ContextVar("stream_id", default="")

# A message travels twice in the trailers, and clients read trailers past 8 KiB as RESOURCE_EXHAUSTED.
MAX_MESSAGE_CHARACTERS = 500
# On a cancel the requests just end, and a handler may return before its CancelledError arrives (measured: within a
# millisecond or so). The OK waits this long for it, so that a cancelled stream is seldom counted as finished.
CANCEL_NOTICE_S = 0.002
# A refusal that overtakes a later request reaches grpc.aio callers as INTERNAL too, so those under way get this long.
REFUSAL_NOTICE_S = 0.01
# A refusal that overtakes the first request reaches grpc.aio clients as INTERNAL, so it waits for it this long.
FIRST_REQUEST_S = 1.0


def stream_id() -> str:
    """The name of the RPC that the caller runs in, "" outside of one. Logs, spans and `ready` carry it."""
    return _stream_id.get()


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the streaming RPCs of our services; health and reflection pass untouched, tokens aside."""

    def __init__(
        self,
        metrics: RpcMetrics,
        domain: str,
        verifier: Verifier | None = None,
        *,
        tracer: trace.Tracer | None = None,
    ) -> None:
        """`domain` is the service's full proto name, which errors carry."""
        # While it is set, the service's methods answer UNAVAILABLE, as they may be served elsewhere.
        self.loading = False
        self._metrics = metrics
        self._domain = domain
        self._verifier = verifier
        self._tracer = tracer or trace.get_tracer("antiphon")
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Returns once no handler runs: gRPC's own stop does not wait for them."""
        await self._idle.wait()

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if details.method.startswith("/grpc.health."):
            return handler
        if handler is None and self.loading and details.method.startswith(f"/{self._domain}/"):
            return grpc.stream_stream_rpc_method_handler(self._wrap(_still_loading, details.method.strip("/")))
        if handler is None or handler.stream_stream is None:
            return None  # every RPC of ours streams; another kind would get past the token
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
                    await _first_heard(requests)
                    await self._abort(context, error)
                async for reply in handle(requests, context):
                    await context.write(reply)

            return passed

        async def handled(requests: Any, context: Any) -> None:
            metadata = dict(context.invocation_metadata() or ())
            with self._observed(path, metadata) as outcome:
                try:
                    try:
                        self._authenticate(metadata)
                    except ServiceError:
                        await _first_heard(requests)
                        raise
                    await handle(requests, context)
                    await asyncio.sleep(CANCEL_NOTICE_S)
                    outcome[0] = "ok"
                except Exception as raised:
                    await self._end(context, path, root_cause(raised), outcome)

        return handled

    async def _end(self, context: Any, path: str, cause: BaseException, outcome: list[str]) -> None:
        """Ends the RPC with what a handler raised. Raises what gRPC expects to see raised."""
        if isinstance(cause, grpc.aio.AbortError):  # the handler has ended it itself
            outcome[0] = "aborted"
            raise cause
        lost = isinstance(cause, grpc.aio.InternalError)  # a write that failed: as a rule, the caller has gone
        error = cause if isinstance(cause, ServiceError) else BackendFailed("unexpected error")
        if not (lost or isinstance(cause, ServiceError)):
            log.error("unexpected error in %s", path, exc_info=cause)
        if not lost:
            await asyncio.sleep(REFUSAL_NOTICE_S)
        try:
            await self._abort(context, error)
        except grpc.aio.AbortError:
            outcome[0] = error.reason.lower()
            if lost:
                log.error("a reply of %s could not be written", path, exc_info=cause)
            raise
        except grpc.aio.InternalError:  # nobody is there to be told
            outcome[0] = "cancelled" if lost else error.reason.lower()
            raise

    def _authenticate(self, metadata: dict[str, Any]) -> None:
        if self._verifier:
            self._verifier.verify(str(metadata.get("authorization", "")))

    @contextmanager
    def _observed(self, path: str, metadata: dict[str, Any]) -> Iterator[list[str]]:
        method = path.rpartition("/")[2]
        started, outcome = time.monotonic(), ["cancelled"]
        name = uuid.uuid4().hex[:16]
        token = _stream_id.set(name)
        self._count(method, +1)
        attributes = {"antiphon.stream.id": name, "antiphon.session.id": str(metadata.get("x-session-id", ""))}
        parent = propagate.extract({key: str(value) for key, value in metadata.items()})
        span = self._tracer.start_span(path, context=parent, kind=trace.SpanKind.SERVER, attributes=attributes)
        about = {"session_id": attributes["antiphon.session.id"]} if attributes["antiphon.session.id"] else {}
        try:
            with (
                working_for(Call(attributes["antiphon.session.id"])),
                trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False),
            ):
                try:
                    yield outcome
                finally:
                    span.set_attribute("antiphon.outcome", outcome[0])
                    if outcome[0] not in ("ok", "cancelled"):
                        span.set_status(trace.StatusCode.ERROR, outcome[0])
        finally:
            seconds = time.monotonic() - started
            self._count(method, -1)
            self._metrics.seconds.labels(method, outcome[0]).observe(seconds)
            log.info("%s %s after %.3f s", method, outcome[0], seconds, extra={"fields": about})
            _stream_id.reset(token)

    def _count(self, method: str, change: int) -> None:
        self._metrics.active.labels(method).inc(change)
        self._open += change
        if self._open:
            self._idle.clear()
        else:
            self._idle.set()

    async def _abort(self, context: Any, error: ServiceError) -> None:
        message = shortened(str(error))
        await context.abort(error.code, message, _details(error, message, self._domain))


async def _still_loading(requests: Any, context: Any) -> None:
    await _first_heard(requests)
    raise Unavailable("the model is still loading", reason="LOADING")


async def _first_heard(requests: Any) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(FIRST_REQUEST_S):
            await anext(requests, None)


def shortened(message: str) -> str:
    """A message that fits into trailers, whatever of the caller's input it quotes."""
    return message if len(message) <= MAX_MESSAGE_CHARACTERS else message[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def _details(error: ServiceError, message: str, domain: str) -> tuple[tuple[str, bytes], ...]:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=domain))
    status = status_pb2.Status(code=error.code.value[0], message=message, details=[info])
    return (("grpc-status-details-bin", status.SerializeToString()),)


def error_reason(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo reason in an error's trailers, "" when it carries none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                details = status_pb2.Status.FromString(value).details
            except DecodeError:  # a proxy's, not ours
                return ""
            for detail in details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
