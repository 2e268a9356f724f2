"""Streams to the replicas of a service: one channel an address, fewest own streams first, no slot held twice."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from .auth import Issuer
from .rpc import error_reason
from .tls import ClientTls

# A dead peer is noticed after time + timeout; a lost one is dialled again after at most max_reconnect.
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Each address has its own channel, and its own connection.
    ("grpc.use_local_subchannel_pool", 1),
]
# How long a replica that could not be reached is tried after the others.
SHUN_S = 2.0
ELSEWHERE = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


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


@dataclass(slots=True, eq=False)
class _Replica:
    address: str
    channel: grpc.aio.Channel
    rpc: Any
    streams: int = 0
    # Until then it is tried last, because it could not be reached.
    shunned_until: float = 0.0


class Stream:
    """An open stream whose `ready` has come. Iterating it gives the events after that one."""

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

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._events()

    async def _events(self) -> AsyncIterator[Any]:
        while (event := await self._call.read()) is not grpc.aio.EOF:
            yield event
        if (code := await self._call.code()) is not grpc.StatusCode.OK:
            metadata = (await self._call.initial_metadata(), await self._call.trailing_metadata())
            raise grpc.aio.AioRpcError(code, *metadata, details=await self._call.details())


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
        """`rpc` picks the method from a channel, such as `lambda c: AsrServiceStub(c).Transcribe`."""
        self._targets = tuple(targets)
        self._rpc = rpc
        self._issuer = issuer
        self._tls = tls
        self._policy = policy or DialPolicy()
        self._resolve_every_s = resolve_every_s
        self._resolved_at = float("-inf")
        self._replicas: dict[str, _Replica] = {}
        self._retired: list[_Replica] = []
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def open_streams(self) -> int:
        return sum(replica.streams for replica in (*self._replicas.values(), *self._retired))

    async def open(self, first: Any, *, metadata: Sequence[tuple[str, str]] = (), avoid: Sequence[str] = ()) -> Stream:
        """Opens a stream with `first`, its config, and waits for `ready`. Addresses in `avoid` are tried last.

        Raises DialError when no replica takes it, and AioRpcError when one refuses the request as such.
        """
        deadline, backoff = time.monotonic() + self._policy.total_s, self._policy.backoff_s
        while True:
            await self._resolve()
            refusal: DialError | None = None
            for replica in self._in_order(avoid):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    return await self._dial(replica, first, metadata, min(left, self._policy.ready_s))
                except DialError as error:
                    if error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        replica.shunned_until = time.monotonic() + SHUN_S
                    # That a replica is full outweighs that another cannot be reached.
                    if refusal is None or refusal.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        refusal = error
            refusal = refusal or DialError(
                f"no address for {', '.join(self._targets)}", grpc.StatusCode.UNAVAILABLE, "NO_ADDRESS"
            )
            full = refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            if full or time.monotonic() + backoff >= deadline:
                raise refusal
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff *= 2

    async def close(self) -> None:
        """Ends every stream and closes the channels."""
        replicas = (*self._replicas.values(), *self._retired)
        self._replicas, self._retired = {}, []
        for replica in replicas:
            await replica.channel.close()
        await asyncio.gather(*self._closing)

    def _in_order(self, avoid: Sequence[str]) -> list[_Replica]:
        now = time.monotonic()
        return sorted(self._replicas.values(), key=lambda r: (r.address in avoid, r.shunned_until > now, r.streams))

    async def _dial(
        self, replica: _Replica, first: Any, metadata: Sequence[tuple[str, str]], timeout_s: float
    ) -> Stream:
        token = [("authorization", f"Bearer {self._issuer.token()}")] if self._issuer else []
        call = replica.rpc(metadata=(*metadata, *token))
        replica.streams += 1
        call.add_done_callback(lambda _: self._released(replica))
        opened = False
        try:
            async with asyncio.timeout(timeout_s):
                ready = await self._first_event(call, first)
            opened = True
        except TimeoutError as error:
            raise DialError(
                f"{replica.address} did not answer within {timeout_s:.1f} s",
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "NO_ANSWER",
            ) from error
        except grpc.aio.AioRpcError as error:
            if error.code() not in ELSEWHERE:
                raise
            raise DialError(f"{replica.address}: {error.details()}", error.code(), error_reason(error)) from error
        finally:
            if not opened:
                call.cancel()
        return Stream(call, ready.ready, replica.address)

    async def _first_event(self, call: Any, first: Any) -> Any:
        # A stream that has ended already tells why when it is read.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(first)
        async for event in Stream(call, None, ""):
            return event
        raise DialError("the stream ended before ready", grpc.StatusCode.UNAVAILABLE, "NO_READY")

    def _released(self, replica: _Replica) -> None:
        replica.streams -= 1
        if replica in self._retired and not replica.streams:
            self._retired.remove(replica)
            closing = asyncio.get_running_loop().create_task(replica.channel.close(), name="close channel")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _resolve(self) -> None:
        renewed = self._tls.renewed() if self._tls else False
        if not renewed and self._replicas and time.monotonic() - self._resolved_at < self._resolve_every_s:
            return
        addresses: dict[str, str] = {}
        complete = True
        for target in self._targets:
            try:
                addresses |= await _addresses(target)
            except OSError:  # the resolver fails: what is known stays
                complete = False
        self._resolved_at = time.monotonic()
        for address in [a for a in self._replicas if renewed or (complete and a not in addresses)]:
            await self._retire(self._replicas.pop(address))
        for address, host in addresses.items():
            if address not in self._replicas:
                self._replicas[address] = self._connect(address, host)

    async def _retire(self, replica: _Replica) -> None:
        if replica.streams:
            self._retired.append(replica)
        else:
            await replica.channel.close()

    def _connect(self, address: str, host: str) -> _Replica:
        if self._tls:
            # Certificates name hosts, and we dial addresses.
            options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
            channel = grpc.aio.secure_channel(address, self._tls.credentials, options=options)
        else:
            channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        return _Replica(address, channel, self._rpc(channel))


async def _addresses(target: str) -> dict[str, str]:
    """The "ip:port" addresses behind "host:port", each with its host."""
    host, _, port = target.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return {f"[{at[0]}]:{port}" if family is socket.AF_INET6 else f"{at[0]}:{port}": host for family, *_, at in found}
