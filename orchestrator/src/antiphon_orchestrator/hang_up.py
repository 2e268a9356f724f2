"""The end of a call from the agent's side."""

import asyncio
from types import TracebackType

from pipecat.frames.frames import EndFrame

from .session import Session

# From the agent's last words to the end of the line: the longest phrase takes less.
LAST_WORDS_S = 20.0


class HangUp:
    """Ends one call when what has been said is heard, and at the latest after `last_words_s`.

    A context manager: it owns the task that waits, and lasts as long as the call.
    """

    def __init__(self, session: Session, last_words_s: float = LAST_WORDS_S) -> None:
        self._session = session
        self._last_words_s = last_words_s
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "HangUp":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closing:
            self._closing.cancel()
            await asyncio.gather(self._closing, return_exceptions=True)

    async def after_last_words(self) -> None:
        """End the call behind what was queued before. The caller's speech no longer stops the agent."""
        worker = self._session.worker
        if worker is None or self._closing:
            return
        self._session.end("agent")
        self._session.playout.part()
        self._closing = asyncio.create_task(self._close_late(), name="hang-up")
        await worker.queue_frame(EndFrame())

    async def _close_late(self) -> None:
        """A service that hangs, or a line that takes nothing, must not keep the call open."""
        await asyncio.sleep(self._last_words_s)
        if self._session.worker:
            await self._session.worker.cancel()
