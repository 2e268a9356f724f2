"""One thread that works for many streams, the most urgent first."""

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Runs blocking work, one piece at a time. Who waits is bounded by who asks: a stream asks for one at a time."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._busy = False
        self.started = 0

    async def run(self, work: Callable[[], T], deadline: float) -> T:
        """The work's result. Cancelled before its turn, it never runs; during it, its result is dropped."""
        await self._turn(deadline)
        self.started += 1
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    async def _turn(self, deadline: float) -> None:
        if not self._busy:
            self._busy = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (deadline, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            raise

    def _done(self, running: asyncio.Future[T]) -> None:
        if not running.cancelled():
            running.exception()  # who was cancelled does not fetch it
        self._next()

    def _next(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
