"""A real service on a free port, and timers that a test fires, for tests of any package."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from .server import Build, Host, listening
from .settings import ServerSettings


@dataclass(frozen=True)
class Served:
    """A running service, a channel to it and its metrics."""

    port: int
    channel: grpc.aio.Channel
    host: Host

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value, 0 when it was never set."""
        return self.host.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(service: str, build: Build, settings: ServerSettings | None = None) -> AsyncIterator[Served]:
    """Serves `build` on a free loopback port until the context ends, then stops at once."""
    settings = settings or ServerSettings(bind="127.0.0.1:0", grace_s=0.0)
    async with (
        listening(settings, service, build, CollectorRegistry()) as at,
        grpc.aio.insecure_channel(f"127.0.0.1:{at.port}") as channel,
    ):
        yield Served(at.port, channel, at.host)


async def collect(call: Any) -> tuple[list[Any], grpc.aio.AioRpcError | None]:
    """Every event of a call, and the error that ended it if one did."""
    events: list[Any] = []
    try:
        async for event in call:
            events.append(event)
    except grpc.aio.AioRpcError as error:
        return events, error
    return events, None


# Timers of such lengths are fired by the test. Nothing has them by default.
MANUAL_S = (1000.0, 3000.0)


@dataclass(frozen=True)
class ManualTimer:
    """A timer of the event loop: its handle, what it calls, and the time from when it was set, in s."""

    handle: asyncio.TimerHandle
    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: contextvars.Context
    length_s: float

    def fire(self) -> None:
        """Call the callback now, as if the time had come."""
        assert not self.handle.cancelled()
        self.handle.cancel()
        self.context.run(self.callback, *self.args)


class ManualTimers:
    """The timers of 1000 to 3000 s that were set while `manual_timers` lasted.

    `asyncio.sleep`, `asyncio.timeout`, `call_later` and `call_at` each set one.
    """

    def __init__(self) -> None:
        self.all: list[ManualTimer] = []

    @property
    def running(self) -> list[ManualTimer]:
        return [timer for timer in self.all if not timer.handle.cancelled()]

    @property
    def lengths_s(self) -> list[int]:
        """Lengths of the running timers in whole seconds, in the order in which they were set."""
        return [round(timer.length_s) for timer in self.running]

    def fire(self) -> None:
        """Fire the timer that runs; there must be one and no other."""
        (timer,) = self.running
        timer.fire()


@contextmanager
def manual_timers() -> Iterator[ManualTimers]:
    """Let the test fire the running loop's timers of 1000 to 3000 s, however slow the machine is.

    For asyncio's own loop, whose methods can be replaced.
    """
    loop: Any = asyncio.get_running_loop()
    timers = ManualTimers()
    set_timer = loop.call_at

    def call_at(
        when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = context or contextvars.copy_context()
        handle: asyncio.TimerHandle = set_timer(when, callback, *args, context=context)
        length_s = when - loop.time()
        if MANUAL_S[0] <= round(length_s) <= MANUAL_S[1]:
            timers.all.append(ManualTimer(handle, callback, args, context, length_s))
        return handle

    loop.call_at = call_at  # `call_later` calls it too
    try:
        yield timers
    finally:
        del loop.call_at
