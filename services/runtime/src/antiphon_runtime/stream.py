"""The parts that every bidirectional stream has: its first request, its one writer, its notice of draining."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from .errors import InvalidInput, root_cause


async def first_config(requests: AsyncIterator[Any]) -> Any:
    """The `config` of the first request. Raises InvalidInput when that carries something else, or nothing."""
    first = await anext(requests, None)
    kind = first.WhichOneof("request") if first is not None else None
    if first is None or kind != "config":
        raise InvalidInput(f"the first request must carry `config`, not {kind or 'nothing'}")
    return first.config


class Replies:
    """Writes a stream's events from several tasks: gRPC allows one write at a time.

    A task may be cancelled while it sends: its event is sent all the same, and the next one waits for that.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None

    async def send(self, event: Any) -> None:
        async with self._lock:
            # gRPC takes no second write while one is under way, and cannot take that one back.
            if self._writing and not self._writing.done():
                await asyncio.wait((self._writing,))
            self._writing = asyncio.ensure_future(self._context.write(event))
            self._writing.add_done_callback(_retrieved)
            await asyncio.shield(self._writing)


def _retrieved(write: asyncio.Future[None]) -> None:
    # Who was cancelled meanwhile will not ask, and asyncio would complain.
    if not write.cancelled():
        write.exception()


class Drain:
    """Tells long-lived streams that this replica is going away."""

    def __init__(self, grace_s: float = 0.0) -> None:
        self.grace_s = grace_s
        self.started = asyncio.Event()
        self._ends_at: float | None = None

    def start(self, left_s: float) -> None:
        """Draining has begun, and streams may go on for another `left_s` seconds."""
        self._ends_at = time.monotonic() + left_s
        self.started.set()

    @property
    def left_ms(self) -> int:
        """How long streams may go on from now, in milliseconds."""
        left_s = self.grace_s if self._ends_at is None else self._ends_at - time.monotonic()
        return max(0, round(left_s * 1000))

    @asynccontextmanager
    async def announced(self, tell: Callable[[int], Awaitable[None]]) -> AsyncIterator[None]:
        """While the context lasts, calls `tell(deadline_ms)` once if draining starts."""

        async def wait() -> None:
            await self.started.wait()
            await tell(self.left_ms)

        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(wait(), name="drain notice")
            try:
                yield
            finally:
                waiting.cancel()


@asynccontextmanager
async def unwrapped() -> AsyncIterator[None]:
    """Raises the first cause of an exception group in its place, so that callers can catch it by type."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise root_cause(group) from group
