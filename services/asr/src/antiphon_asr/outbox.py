"""Events on their way to a reader who may be slow."""

import asyncio
from collections import deque

from .backends import Finalized, Heard


class Outbox:
    """Holds what the reader has not taken. An interim replaces the one before it; an answer is never dropped.

    Bounded because the session bounds its open answers, and between two of them there is one interim at most.
    """

    def __init__(self) -> None:
        self._events: deque[Heard | Finalized] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Heard | Finalized) -> None:
        if isinstance(event, Heard) and self._events and isinstance(self._events[-1], Heard):
            self._events.pop()
        self._events.append(event)
        self._changed.set()

    def close(self) -> None:
        """The reader gets what is left, then None."""
        self._closed = True
        self._changed.set()

    async def get(self) -> Heard | Finalized | None:
        while not self._events:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()
