"""What the instruments do with a streaming call of their own."""

from collections.abc import AsyncIterator
from typing import Any

import grpc


async def events(call: Any) -> AsyncIterator[Any]:
    """What the server sends until the end. Raises AioRpcError when that is not a good one."""
    while (event := await call.read()) is not grpc.aio.EOF:
        yield event
    if await call.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(await call.code(), await call.initial_metadata(), None, await call.details())
