"""Shared by the adapters: a stream that is kept open, error categories, trace context."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from loguru import logger
from opentelemetry.context import Context, get_current
from pipecat.utils.errors import ErrorCategory

from antiphon_runtime.calls import current_call, trace_headers
from antiphon_runtime.client import DialError, Replicas, Stream

CATEGORIES = {
    grpc.StatusCode.UNAUTHENTICATED: ErrorCategory.AUTHENTICATION,
    grpc.StatusCode.PERMISSION_DENIED: ErrorCategory.AUTHORIZATION,
    grpc.StatusCode.INVALID_ARGUMENT: ErrorCategory.INVALID_REQUEST,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorCategory.RATE_LIMIT,
    grpc.StatusCode.UNAVAILABLE: ErrorCategory.CONNECTIVITY,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorCategory.CONNECTIVITY,
    grpc.StatusCode.INTERNAL: ErrorCategory.SERVER,
}
# A stream that has lasted so long, and said something, was a good one.
STEADY_S = 2.0
# Refusals that dialling again cannot cure.
PERMANENT = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def category(error: Exception) -> ErrorCategory | None:
    """The kind of an error, None when it is none of gRPC's."""
    if isinstance(error, DialError):
        return CATEGORIES.get(error.code)
    return CATEGORIES.get(error.code()) if isinstance(error, grpc.aio.AioRpcError) else None


def passing(error: Exception) -> ErrorCategory:
    """The category of an error after which we dial again: a permanent one would stop Pipecat from giving us work."""
    found = category(error)
    return ErrorCategory.CONNECTIVITY if found is None or found.is_permanent else found


class GrpcErrors:
    """Mixed into a Pipecat service, gives its gRPC errors their category instead of UNKNOWN."""

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return category(exception)


def is_lost(error: Exception) -> bool:
    """True if another replica may do better: this one is gone, or silent, and did not refuse."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() not in PERMANENT
    return isinstance(error, TimeoutError)


def describe(error: Exception) -> str:
    """One line for people: the status and what the server said."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def turn_context(service: Any) -> Context | None:
    """The trace of the turn under way: ours, or in another bot the one that Pipecat traces."""
    if call := current_call():
        return call.turn
    traced = getattr(service, "_tracing_context", None)
    found: Context | None = traced.get_turn_context() if traced else None
    return found


def turn_headers(service: Any) -> dict[str, str]:
    """W3C headers of the turn under way, or else of the current span."""
    return trace_headers(turn_context(service) or get_current())


def call_metadata(service: Any, session_id: str) -> list[tuple[str, str]]:
    """`x-session-id` and, when the turn is traced, its W3C context."""
    return [("x-session-id", session_id), *turn_headers(service).items()]


class Clock:
    """Time as it passes: a test has one of its own."""

    def now_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Link:
    """One long stream to a service, dialled again when it is lost or renewed.

    A stream that could not be opened, or ended before its first event or within STEADY_S, has failed; one that we have
    left, only if it was left within STEADY_S. The first of such failures in a row is dialled again at once, later ones
    after up to 2 s: what is sent again to each new stream may be what ends it.

    Requests wait in a queue of `queue_size`; when that is full the newest is refused and `send` says so.
    """

    def __init__(
        self,
        replicas: Replicas,
        first: Any,
        *,
        on_open: Callable[[Stream], Sequence[Any]],
        on_event: Callable[[Any], Awaitable[None]],
        on_lost: Callable[[Exception, bool], Awaitable[None]],
        metadata: Sequence[tuple[str, str]] = (),
        queue_size: int = 500,
        clock: Clock | None = None,
    ) -> None:
        """`on_open` gives what a new stream must be told first; `on_lost` gets the error and whether it is final."""
        self._replicas = replicas
        self._first = first
        self._on_open = on_open
        self._on_event = on_event
        self._on_lost = on_lost
        self._metadata = metadata
        self._clock = clock or Clock()
        self._outbox: asyncio.Queue[Any] = asyncio.Queue(maxsize=queue_size)
        self._stream: Stream | None = None
        self._avoid: tuple[str, ...] = ()
        # True once the stream has sent a response.
        self._heard = False
        # We wanted to leave this replica and found no other.
        self._last_resort = ""

    @property
    def connected(self) -> bool:
        return self._stream is not None

    def send(self, request: Any) -> bool:
        """Queues a request; False when the stream is down or the queue full."""
        if self._stream is None:
            return False
        try:
            self._outbox.put_nowait(request)
        except asyncio.QueueFull:
            return False
        return True

    def renew(self) -> None:
        """Leaves this replica for another one; once it turned out that there is no other, stays."""
        if self._stream and self._stream.address != self._last_resort:
            self.abandon()

    def abandon(self) -> None:
        """Drops the stream and opens it again, elsewhere if there is an elsewhere."""
        if self._stream:
            self._avoid = (self._stream.address,)
            self._stream.cancel()
            self._stream = None  # left once, and given nothing more

    async def run(self) -> None:
        """Keeps the stream open until cancelled, or until a refusal that dialling again cannot cure."""
        failures = 0
        while True:
            try:
                stream = await self._replicas.open(self._first, metadata=self._metadata, avoid=self._avoid)
            except (DialError, grpc.aio.AioRpcError) as error:
                final = isinstance(error, grpc.aio.AioRpcError) and error.code() in PERMANENT
                await self._on_lost(error, final)
                if final:
                    return
                failures += 1
                await self._back_off(failures)
                continue
            self._last_resort = stream.address if stream.address in self._avoid else ""
            self._avoid = ()
            opened_s = self._clock.now_s()
            await self._talk(stream)
            left = bool(self._avoid)  # by us, and not lost
            steady = (self._heard or left) and self._clock.now_s() - opened_s >= STEADY_S
            failures = 0 if steady else failures + 1
            if failures > 1:
                await self._back_off(failures)

    async def _back_off(self, failures: int) -> None:
        await self._clock.sleep(min(2.0, 0.1 * 2 ** min(failures, 5)) * random.uniform(0.5, 1.0))

    async def _talk(self, stream: Stream) -> None:
        while not self._outbox.empty():  # what was meant for the stream before
            self._outbox.get_nowait()
        first = self._on_open(stream)
        sender = asyncio.create_task(self._send(stream, first), name="link sender")
        self._stream, self._heard = stream, False
        error: Exception = ConnectionError("the server ended the stream")
        try:
            async for event in stream:
                self._heard = True
                await self._on_event(event)
        except grpc.aio.AioRpcError as lost:
            error = lost
        finally:
            self._stream = None
            stream.cancel()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        if not self._avoid:
            await self._on_lost(error, False)
        logger.debug(f"stream to {stream.address} ended: {describe(error)}")

    async def _send(self, stream: Stream, first: Sequence[Any]) -> None:
        try:
            for request in first:
                await stream.write(request)
            while True:
                await stream.write(await self._outbox.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the receiving side knows why
