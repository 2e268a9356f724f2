"""Work of two kinds on one device: of one kind together, of both never."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Phases:
    """Who shares a device takes it for a kind of work. While others wait for another kind, the present one takes nobody
    more; when its last one ends, all those of the kind that has waited longest begin."""

    def __init__(self) -> None:
        self.kind = ""
        self._holders = 0
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, kind: str) -> AsyncIterator[None]:
        """The device, for work of this kind, until the context ends."""
        await self._take(kind)
        try:
            yield
        finally:
            self._holders -= 1
            self._admit()

    async def _take(self, kind: str) -> None:
        if not self._holders or (kind == self.kind and not self._waiting):
            self.kind, self._holders = kind, self._holders + 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((kind, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # admitted, and then cancelled
                self._holders -= 1
            self._admit()
            raise

    def _admit(self) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if not waiting[1].cancelled())
        while self._waiting and (not self._holders or self._waiting[0][0] == self.kind):
            self.kind = self._waiting[0][0]
            admitted = [turn for kind, turn in self._waiting if kind == self.kind]
            self._waiting = deque(waiting for waiting in self._waiting if waiting[0] != self.kind)
            self._holders += len(admitted)
            for turn in admitted:
                turn.set_result(None)
