"""Which replicas a service has now, and a channel to each of them."""

import asyncio
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from .errors import ConfigError
from .tls import ClientTls

# A dead peer is noticed after time + timeout; a lost one is dialled again after at most max_reconnect.
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Despite its name, how long one attempt at connecting may take, TLS handshake included.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Quiet connections are watched as well.
    ("grpc.http2.max_pings_without_data", 0),
    # Each address has its own channel, and its own connection.
    ("grpc.use_local_subchannel_pool", 1),
    # We dial addresses; a proxy from the environment is for what lies outside.
    ("grpc.enable_http_proxy", 0),
]
# How long a replica that could not be reached is tried after the others, doubled each time that it fails again.
SHUN_S = 2.0
MAX_SHUN_DOUBLINGS = 3


@dataclass(slots=True, eq=False)
class Replica:
    """One address, its channel, and the calls that are open on it."""

    address: str
    host: str
    channel: grpc.aio.Channel
    rpc: Any
    calls: set[Any] = field(default_factory=set)
    # In a row, because it could not be reached or did not answer.
    failures: int = 0
    shunned_until: float = 0.0

    def failed(self) -> None:
        self.shunned_until = time.monotonic() + SHUN_S * 2 ** min(self.failures, MAX_SHUN_DOUBLINGS)
        self.failures += 1

    def doubtful(self) -> bool:
        """It failed when it was last tried, and there is no sign yet that it is back."""
        if not self.failures:
            return False
        # Asking also makes gRPC connect, so that no caller has to wait for a dead replica to find out.
        state = self.channel.get_state(try_to_connect=True)
        return state is not grpc.ChannelConnectivity.READY or self.shunned_until > time.monotonic()


class Pool:
    """The replicas behind `targets` ("host:port", each of which may resolve to several addresses).

    Raises ConfigError for a target that is not "host:port".
    """

    def __init__(
        self,
        targets: Sequence[str],
        rpc: Callable[[grpc.aio.Channel], Any],
        tls: ClientTls | None,
        resolve_every_s: float,
    ) -> None:
        self._targets = tuple(_host_and_port(target) for target in targets)
        self._rpc = rpc
        self._tls = tls
        self._credentials = tls.credentials if tls else None
        self._resolve_every_s = resolve_every_s
        self._resolved_at = float("-inf")
        self._resolving: asyncio.Task[None] | None = None
        self._replicas: dict[str, Replica] = {}
        self._retired: list[Replica] = []
        self._closing: set[asyncio.Task[None]] = set()
        self.closed = False

    @property
    def calls(self) -> list[Any]:
        """Those open on any replica, the ones that left the addresses included."""
        return [call for replica in (*self._replicas.values(), *self._retired) for call in replica.calls]

    def in_order(self, avoid: Sequence[str]) -> list[Replica]:
        """Whom to try first: not in `avoid`, not in doubt, fewest calls."""
        # Chance breaks ties, or every client would begin with the same replica.
        return sorted(
            self._replicas.values(), key=lambda r: (r.address in avoid, r.doubtful(), len(r.calls), random.random())
        )

    def has(self, replica: Replica) -> bool:
        return self._replicas.get(replica.address) is replica

    def started(self, replica: Replica, call: Any) -> None:
        """Counts `call` until it is done."""
        replica.calls.add(call)
        call.add_done_callback(lambda call: self._released(replica, call))

    async def refresh(self, deadline: float, *, afresh: bool) -> None:
        """Looks the addresses up when that is due, in the background unless there is nothing else to go by."""
        self._renew()
        due = time.monotonic() - self._resolved_at >= self._resolve_every_s
        if self._resolving is None and (due or afresh or not self._replicas):
            self._resolving = asyncio.create_task(self._resolve(), name="resolve replicas")
        if self._resolving and (afresh or not self._replicas):
            await asyncio.wait((self._resolving,), timeout=max(0.0, deadline - time.monotonic()))

    async def close(self) -> None:
        """Ends every call and closes the channels, for good."""
        self.closed = True
        if self._resolving:
            self._resolving.cancel()
            await asyncio.wait((self._resolving,))
        calls = self.calls
        replicas = (*self._replicas.values(), *self._retired)
        self._replicas, self._retired = {}, []
        for call in calls:  # closing a channel ends only the calls that are being read
            call.cancel()
        for call in calls:
            await call.code()
        for replica in replicas:
            await replica.channel.close()
        await asyncio.gather(*self._closing)

    async def _resolve(self) -> None:
        try:
            addresses: dict[str, str] = {}
            complete = True
            for host, port in self._targets:
                try:
                    addresses |= await _addresses(host, port)
                except (OSError, UnicodeError):  # the resolver fails: what is known stays
                    complete = False
            self._resolved_at = time.monotonic()
            for address in [a for a in self._replicas if complete and a not in addresses]:
                self._retire(self._replicas.pop(address))
            for address, host in addresses.items():
                if address not in self._replicas:
                    self._replicas[address] = self._connect(address, host)
        finally:
            self._resolving = None

    def _renew(self) -> None:
        """New channels when the TLS files have changed; open streams stay on theirs."""
        if self._tls is None:
            return
        self._tls.renewed()
        if self._tls.credentials is self._credentials:
            return
        self._credentials = self._tls.credentials
        for address, replica in list(self._replicas.items()):
            self._replicas[address] = self._connect(address, replica.host)
            self._retire(replica)

    def _retire(self, replica: Replica) -> None:
        if replica.calls:
            self._retired.append(replica)
        else:
            self._close_channel(replica)

    def _close_channel(self, replica: Replica) -> None:
        closing = asyncio.get_running_loop().create_task(replica.channel.close(), name="close channel")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _connect(self, address: str, host: str) -> Replica:
        if self._credentials:
            # Certificates name hosts, and we dial addresses.
            options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
            channel = grpc.aio.secure_channel(address, self._credentials, options=options)
        else:
            channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        return Replica(address, host, channel, self._rpc(channel))

    def _released(self, replica: Replica, call: Any) -> None:
        replica.calls.discard(call)
        if replica in self._retired and not replica.calls:
            self._retired.remove(replica)
            self._close_channel(replica)


def _host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    if not (host and port.isascii() and port.isdigit()):
        raise ConfigError(f"{target!r} is not host:port")
    return host.strip("[]"), int(port)


async def _addresses(host: str, port: int) -> dict[str, str]:
    """The "ip:port" addresses behind a host, each with that host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return {f"[{at[0]}]:{port}" if family is socket.AF_INET6 else f"{at[0]}:{port}": host for family, *_, at in found}
