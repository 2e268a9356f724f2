"""The way of text from the engine's thread to the event loop."""

import asyncio
import threading
from typing import Self


class Mailbox:
    """Holds at most one piece of text: what comes while the reader is slow is joined to it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._text = ""
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, text: str) -> None:
        """From any thread."""
        with self._lock:
            self._text += text
        self._loop.call_soon_threadsafe(self._changed.set)

    def close(self) -> None:
        """From any thread: the reader ends after what is left."""
        with self._lock:
            self._closed = True
        self._loop.call_soon_threadsafe(self._changed.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            await self._changed.wait()
            with self._lock:
                text, self._text = self._text, ""
                if not self._closed:
                    self._changed.clear()
            if text:
                return text
            if self._closed:
                raise StopAsyncIteration
