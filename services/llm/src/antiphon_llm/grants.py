"""The tokens that a caller has paid for."""

import asyncio
from dataclasses import dataclass

# More grants than this ahead of the model make the caller wait: its requests are no longer read.
AHEAD = 64


@dataclass(frozen=True, slots=True)
class Grant:
    segment_id: int
    tokens: int


class Grants:
    """A caller's grants in their order, from the task that reads requests to the one that generates."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Grant | None] = asyncio.Queue(maxsize=AHEAD)
        self._ended = False

    async def add(self, grant: Grant) -> None:
        """Waits while the model has as many left as it may."""
        await self._queue.put(grant)

    async def end(self) -> None:
        """Says that no more will come."""
        await self._queue.put(None)

    async def next(self) -> Grant | None:
        """The next grant, None once there will be none."""
        if self._ended:
            return None
        grant = await self._queue.get()
        self._ended = grant is None
        return grant
