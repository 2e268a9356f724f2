"""How late this process runs what is due."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Histogram

EVERY_S = 0.25


@asynccontextmanager
async def loop_lag_observed(into: Histogram) -> AsyncIterator[None]:
    """While the context lasts, observes by how much a timer of the event loop is late."""
    watching = asyncio.create_task(_watch(into), name="loop lag")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(into: Histogram) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        into.observe(max(0.0, loop.time() - due))
