"""How this process stops: calls under way are heard to their end, while others take the new ones."""

import asyncio
from types import FrameType
from typing import Any

import uvicorn

from .sessions import Sessions


class DrainingServer(uvicorn.Server):
    """Uvicorn's server, which at the first signal lets calls end, and at the second stops at once."""

    def __init__(self, config: uvicorn.Config, sessions: Sessions, drain_s: float, grace_s: float) -> None:
        """`drain_s`: how long new calls are still taken; `grace_s`: how long after that those under way may go on."""
        super().__init__(config)
        self._sessions = sessions
        self._drain_s = drain_s
        self._grace_s = grace_s
        self._hurry = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._loop.call_soon_threadsafe(self._hurry.set)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: Any = None) -> None:
        """Uvicorn's, which closes the port and every connection, once the calls have ended."""
        drained = asyncio.create_task(self._sessions.drain(self._drain_s, self._grace_s), name="drain")
        hurried = asyncio.create_task(self._hurry.wait(), name="second signal")
        try:
            await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (drained, hurried):
                task.cancel()
            await asyncio.gather(drained, hurried, return_exceptions=True)
        await super().shutdown(sockets)
