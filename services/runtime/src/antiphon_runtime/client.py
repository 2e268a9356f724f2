"""Streams to the replicas of a service: one channel an address, fewest own streams first, no slot held twice."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from .auth import Issuer
from .pool import Pool, Replica
from .rpc import error_reason
from .tls import ClientTls

# Refusals that another replica may not repeat.
ELSEWHERE = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # What a stream gets that arrives in the moment in which a server stops.
    grpc.StatusCode.CANCELLED,
)


class DialError(Exception):
    """No replica took the stream. `code` and `reason` are those of the last refusal."""

    def __init__(self, message: str, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DialPolicy:
    """How long a stream may take to open.

    `ready_s` bounds one replica's answer; `total_s` bounds all of them together, rounds of retries included.
    Retries wait `backoff_s`, doubled each round and jittered by half, and only for replicas that are unreachable:
    full ones are an answer.
    """

    ready_s: float = 2.0
    total_s: float = 5.0
    backoff_s: float = 0.1


class Stream:
    """An open stream whose `ready` has come. Iterating it gives the events after that one.

    The iteration raises AioRpcError when the server ends the stream with an error, and just ends after `cancel` and
    when the Replicas are closed. As a context manager it cancels what is left of the stream. Cancelling a task that
    reads or writes cancels the stream too.
    """

    def __init__(self, call: Any, ready: Any, address: str) -> None:
        self._call = call
        self.ready = ready
        self.address = address

    async def write(self, request: Any) -> None:
        """Raises AioRpcError, or InvalidStateError, when the stream has ended: reading it tells why."""
        await self._call.write(request)

    async def done_writing(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            event = await self._call.read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._call.cancelled() and not (task and task.cancelling()):
                raise StopAsyncIteration from None  # the call was cancelled, not the task that reads it
            raise
        except grpc.aio.AioRpcError as error:
            raise _as_lost(error) from error
        if event is grpc.aio.EOF:
            raise StopAsyncIteration
        return event


def _as_lost(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    # What grpc.aio itself puts in the place of the server's status when a write fails because the stream has ended.
    if error.code() is not grpc.StatusCode.INTERNAL or error.details() != "Internal error from Core":
        return error
    metadata = (error.initial_metadata(), error.trailing_metadata())
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, *metadata, details="ended while it was written to")


class Replicas:
    """The replicas behind `targets` ("host:port", each of which may resolve to several addresses)."""

    def __init__(
        self,
        targets: Sequence[str],
        rpc: Callable[[grpc.aio.Channel], Any],
        *,
        issuer: Issuer | None = None,
        tls: ClientTls | None = None,
        policy: DialPolicy | None = None,
        resolve_every_s: float = 5.0,
    ) -> None:
        """`rpc` picks the method from a channel, such as `lambda c: AsrServiceStub(c).Transcribe`.

        Raises ConfigError for a target that is not "host:port".
        """
        self._targets = tuple(targets)
        self._pool = Pool(targets, rpc, tls, resolve_every_s)
        self._issuer = issuer
        self._policy = policy or DialPolicy()

    @property
    def open_streams(self) -> int:
        return len(self._pool.calls)

    async def open(self, first: Any, *, metadata: Sequence[tuple[str, str]] = (), avoid: Sequence[str] = ()) -> Stream:
        """Opens a stream with `first`, its config, and waits for `ready`. Addresses in `avoid` are tried last.

        Raises DialError when no replica takes it, and AioRpcError when one refuses the request as such.
        """
        deadline, backoff = time.monotonic() + self._policy.total_s, self._policy.backoff_s
        refusal: DialError | None = None
        while True:
            if self._pool.closed:
                raise DialError("these replicas are closed", grpc.StatusCode.CANCELLED, "CLOSED")
            await self._pool.refresh(deadline, afresh=refusal is not None)
            outcome = await self._round(first, metadata, avoid, deadline)
            if isinstance(outcome, Stream):
                return outcome
            refusal = outcome or refusal or self._no_address()
            full = refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            if full or time.monotonic() + backoff >= deadline:
                raise refusal
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff *= 2

    async def close(self) -> None:
        """Ends every stream and closes the channels, for good."""
        await self._pool.close()

    async def _round(
        self, first: Any, metadata: Sequence[tuple[str, str]], avoid: Sequence[str], deadline: float
    ) -> Stream | DialError | None:
        """One try at each replica: the stream, or the refusal that says most, or None when none was tried."""
        refusal: DialError | None = None
        for replica in self._pool.in_order(avoid):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if not self._pool.has(replica):
                continue  # retired while another was tried
            try:
                return await self._dial(replica, first, metadata, min(left, self._policy.ready_s))
            except DialError as error:
                # That a replica is full outweighs that another cannot be reached.
                if refusal is None or refusal.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    refusal = error
        return refusal

    async def _dial(
        self, replica: Replica, first: Any, metadata: Sequence[tuple[str, str]], timeout_s: float
    ) -> Stream:
        token = [("authorization", f"Bearer {self._issuer.token()}")] if self._issuer else []
        call = replica.rpc(metadata=(*metadata, *token))
        self._pool.started(replica, call)
        opened = False
        try:
            async with asyncio.timeout(timeout_s):
                ready = await self._ready(call, first, replica.address)
            opened = True
        except TimeoutError as error:
            if timeout_s >= self._policy.ready_s:  # less is the caller's haste
                replica.failed()
            message = f"{replica.address} did not answer within {timeout_s:.1f} s"
            raise DialError(message, grpc.StatusCode.DEADLINE_EXCEEDED, "NO_ANSWER") from error
        except grpc.aio.AioRpcError as error:
            if error.code() not in ELSEWHERE:
                raise
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                replica.failed()
            raise DialError(f"{replica.address}: {error.details()}", error.code(), error_reason(error)) from error
        finally:
            if not opened:
                call.cancel()
        replica.failures = 0
        return Stream(call, ready, replica.address)

    async def _ready(self, call: Any, first: Any, address: str) -> Any:
        # A stream that has ended already tells why when it is read.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(first)
        event = await anext(Stream(call, None, address), None)
        if event is None or event.WhichOneof("event") != "ready":
            raise DialError(f"{address}: the stream did not begin with ready", grpc.StatusCode.UNAVAILABLE, "NO_READY")
        return event.ready

    def _no_address(self) -> DialError:
        return DialError(f"no address for {', '.join(self._targets)}", grpc.StatusCode.UNAVAILABLE, "NO_ADDRESS")
