"""One spoken reply's RPC, and its second try."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from antiphon.tts.v1 import tts_pb2 as pb
from antiphon_runtime.client import DialError, Stream

from .link import is_lost

# Text of this length holds a segment, wherever the voice cuts it: its longest (services/tts, `Limits.max_chars`).
SEGMENT_CHARS = 200
# Of a flush because the model has paused; the marks of others are smaller.
LULL_MARK = 2**31 - 1
FLUSH = pb.SynthesizeRequest(flush=pb.Flush(mark=LULL_MARK))
# A flush waits so long for a word that is being written.
WORD_S = 0.3
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
    # Set once the voice has something that it can speak: until then it owes no audio.
    _owed: asyncio.Event = field(default_factory=asyncio.Event)
    _chars: int = 0
    _text_came: asyncio.Event = field(default_factory=asyncio.Event)
    _told_all: asyncio.Event = field(default_factory=asyncio.Event)
    # Time since which text waits that is not yet a segment, None without any; and the playback end of received audio.
    _waits_since_s: float | None = None
    _heard_until_s: float = 0.0
    # A flush is sent at the end of the word that is being written.
    _flush_wanted: bool = False
    # Flushes text that waits while the model sends nothing.
    flushing: asyncio.Task[None] | None = None

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
            requests = [request]
            if self._flush_wanted and request.text[:1].isspace():
                requests.insert(0, FLUSH)  # a word has just ended
            for one in requests:
                self._told.append(one)
                self._count(one)
            stream = await self.opened()
            with suppress(*LOST):
                for one in requests:
                    await stream.write(one)

    async def end(self) -> None:
        """The text is complete. Raises as `opened`."""
        async with self._telling:
            self._ended = True
            self._told_all.set()
            self._owed.set()
            self._text_came.set()
            stream = await self.opened()
            with suppress(*LOST):
                await stream.done_writing()

    def _count(self, request: pb.SynthesizeRequest) -> None:
        self._chars += len(request.text)
        if request.WhichOneof("request") == "flush" or self._chars >= SEGMENT_CHARS:
            self._owed.set()
        if request.text:
            self._waits_since_s = self._waits_since_s or time.monotonic()
            self._text_came.set()
        else:
            self._waits_since_s, self._flush_wanted = None, False

    def heard(self, audio_s: float) -> None:
        """The voice has sent so much audio, and with it spoken what had waited."""
        now_s = time.monotonic()
        self._heard_until_s = max(now_s, self._heard_until_s) + audio_s
        if self._waits_since_s is not None:
            self._waits_since_s = now_s

    async def flush_lulls(self, lull_s: float) -> None:
        """Has the voice speak what has waited for `lull_s` when nothing else is heard, until the reply's end.

        A model that trickles is heard word by word rather than not at all. Raises as `opened`.
        """
        while not self._ended:
            if self._waits_since_s is None:
                self._text_came.clear()
                await self._text_came.wait()
                continue
            wait_s = max(self._waits_since_s + lull_s, self._heard_until_s) - time.monotonic()
            if wait_s > 0:
                await self._sleep(wait_s)
                continue
            self._flush_wanted = True
            await self._sleep(WORD_S)
            if self._flush_wanted and not self._ended:
                await self.tell(FLUSH)

    async def _sleep(self, seconds: float) -> None:
        """Less when the reply's text ends meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told_all.wait()

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
        """Yield the server's events; a stream that is lost or silent before the first is changed for another, once.

        `first_audio_s` counts from when there is something to speak, not from the model's first word.

        `open_elsewhere` opens a stream on another replica than the one at the given address, if there is one. Raises
        AioRpcError when the stream is lost, DialError when no other is to be had, TimeoutError after a second silence.
        """
        stream = await self.opened()
        try:
            first = await self._first(stream, first_audio_s)
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            if not is_lost(error):
                raise
            stream.cancel()
            stream = await open_elsewhere(stream.address)
            await self.move_to(stream)
            first = await self._first(stream, first_audio_s)
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

    async def _first(self, stream: Stream, within_s: float) -> pb.SynthesizeResponse | None:
        coming = asyncio.create_task(_next(stream), name="tts first event")
        owed = asyncio.create_task(self._owed.wait(), name="tts owed")
        try:
            await asyncio.wait((coming, owed), return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(within_s):
                return await coming
        finally:
            for task in (coming, owed):
                task.cancel()
            await asyncio.gather(coming, owed, return_exceptions=True)


async def _next(stream: Stream) -> pb.SynthesizeResponse | None:
    return await anext(stream, None)
