"""A TCP proxy in front of a service that can be made to hesitate, or to lose its connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READ_BYTES = 64 * 1024


class Proxy:
    """Passes bytes on to `target` ("host:port"). While it hesitates, the service's bytes wait."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._pairs: set[asyncio.Task[None]] = set()
        self.bind = ""

    def hesitate(self) -> None:
        """Hold what the service answers until `go_on`."""
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    async def hiccup(self, seconds: float) -> None:
        """Hold what the service answers for some time."""
        self.hesitate()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.go_on()

    def cut(self) -> None:
        """Lose every connection; new ones are taken."""
        for task in self._pairs:
            task.cancel()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.bind = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._pairs.add(task)
        host, _, port = self._target.rpartition(":")
        try:
            back_reader, back_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            self._pairs.discard(task)
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, back_writer, held=False))
                both.create_task(self._pass(back_reader, writer, held=True))
        except* (OSError, _Ended):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            self._pairs.discard(task)
            for end in (writer, back_writer):
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        while data := await reader.read(READ_BYTES):
            if held:
                await self._flows.wait()
            writer.write(data)
            await writer.drain()
        raise _Ended


class _Ended(Exception):
    """One end has closed: the pair is over."""
