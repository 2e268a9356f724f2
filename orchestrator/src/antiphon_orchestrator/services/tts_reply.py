"""One spoken reply's RPC, and its second try."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from antiphon.tts.v1 import tts_pb2 as pb
from antiphon_runtime.client import DialError, Stream

from .link import is_lost

LOST = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


@dataclass(slots=True)
class Reply:
    """Opened while there is no text yet, told its text piece by piece, and read at the same time.

    What it was told is remembered, a reply's text in all, so that another replica can be told the same.
    """

    # Pipecat's tasks swallow what is raised in them, so a refusal is a result.
    opening: asyncio.Task[Stream | DialError | grpc.aio.AioRpcError]
    receiving: asyncio.Task[None] | None = None
    _moved_to: Stream | None = None
    _told: list[pb.SynthesizeRequest] = field(default_factory=list)
    _ended: bool = False
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def opened(self) -> Stream:
        """Raises DialError when no replica takes the reply, AioRpcError when one refuses it as such."""
        if self._moved_to:
            return self._moved_to
        stream = await asyncio.shield(self.opening)
        if isinstance(stream, Exception):
            raise stream
        return stream

    async def tell(self, request: pb.SynthesizeRequest) -> None:
        """Raises as `opened`. When the stream has ended, reading it tells why."""
        async with self._telling:
            self._told.append(request)
            stream = await self.opened()
            with suppress(*LOST):
                await stream.write(request)

    async def end(self) -> None:
        """The text is complete. Raises as `opened`."""
        async with self._telling:
            self._ended = True
            stream = await self.opened()
            with suppress(*LOST):
                await stream.done_writing()

    async def move_to(self, stream: Stream) -> None:
        """Tells another stream what the one before was told."""
        async with self._telling:
            self._moved_to = stream
            with suppress(*LOST):
                for request in self._told:
                    await stream.write(request)
                if self._ended:
                    await stream.done_writing()

    async def events(
        self, first_audio_s: float, open_elsewhere: Callable[[str], Awaitable[Stream]]
    ) -> AsyncIterator[pb.SynthesizeResponse]:
        """What the server says; a stream that is lost or silent before it says anything is changed for another, once.

        `open_elsewhere` opens a stream on another replica than the one at the given address, if there is one. Raises
        AioRpcError when the stream is lost, DialError when no other is to be had, TimeoutError after a second silence.
        """
        stream = await self.opened()
        try:
            first = await _first(stream, first_audio_s)
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            if not is_lost(error):
                raise
            stream.cancel()
            stream = await open_elsewhere(stream.address)
            await self.move_to(stream)
            first = await _first(stream, first_audio_s)
        if first is not None:
            yield first
            async for event in stream:
                yield event

    def cancel(self) -> None:
        """Ends the RPC, which frees the server's slot within one step."""
        stream = self._moved_to
        if stream is None and self.opening.done() and not self.opening.cancelled():
            result = self.opening.result()
            stream = result if isinstance(result, Stream) else None
        if stream:
            stream.cancel()


async def _first(stream: Stream, within_s: float) -> pb.SynthesizeResponse | None:
    async with asyncio.timeout(within_s):
        return await anext(stream, None)
