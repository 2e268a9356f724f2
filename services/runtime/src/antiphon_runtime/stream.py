"""The parts that every bidirectional stream has: its first request, its one writer, its notice of draining."""

import asyncio
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
    """Writes a stream's events from several tasks: gRPC allows one write at a time."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._lock = asyncio.Lock()

    async def send(self, event: Any) -> None:
        async with self._lock:
            await self._context.write(event)


class Drain:
    """Tells long-lived streams that this replica is going away."""

    def __init__(self, grace_s: float = 0.0) -> None:
        self.grace_s = grace_s
        self.started = asyncio.Event()

    @asynccontextmanager
    async def announced(self, tell: Callable[[int], Awaitable[None]]) -> AsyncIterator[None]:
        """While the context lasts, calls `tell(deadline_ms)` once if draining starts."""

        async def wait() -> None:
            await self.started.wait()
            await tell(round(self.grace_s * 1000))

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
