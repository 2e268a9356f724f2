"""A caller who can misbehave: what it sends and when it hangs up is up to the test. It need not keep real time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pipecat.frames.protobufs import frames_pb2 as generated
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from antiphon_bench.testing.synth import tone
from antiphon_bench.wav import to_pcm

frames_pb2: Any = generated

TICK_BYTES = 640
LONGEST_S = 120.0


def speech(seconds: float = 0.4) -> bytes:
    return to_pcm(tone(seconds, 16_000)).tobytes()


def silence(seconds: float) -> bytes:
    return bytes(round(seconds * 16_000) * 2)


def audio_frame(pcm: bytes, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    audio = frames_pb2.AudioRawFrame(audio=pcm, sample_rate=rate_hz, num_channels=channels)
    return bytes(frames_pb2.Frame(audio=audio).SerializeToString())


class RawCaller:
    """One open call. What the agent sent is read when it is asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session_id = ""

    async def say(self, pcm: bytes) -> None:
        """Sends audio in frames of 20 ms, as fast as the server takes it."""
        for at in range(0, len(pcm), TICK_BYTES):
            await self.socket.send(audio_frame(pcm[at : at + TICK_BYTES]))

    async def until_message(self, kind: str) -> dict[str, Any]:
        """The next message of this type. Raises ConnectionClosed when the server hangs up before."""
        while True:
            frame = frames_pb2.Frame.FromString(await self.socket.recv())
            if frame.WhichOneof("frame") == "message":
                message = json.loads(frame.message.data)
                if message.get("type") == kind:
                    return dict(message)

    async def until_session(self) -> None:
        self.session_id = (await self.until_message("antiphon.session"))["session_id"]

    async def until_audio(self) -> None:
        """Returns when the agent begins to be heard."""
        while frames_pb2.Frame.FromString(await self.socket.recv()).WhichOneof("frame") != "audio":
            pass

    async def turn(self, pcm: bytes | None = None) -> dict[str, Any]:
        """Says something, and gives what the server reports of that turn."""
        await self.say(speech() if pcm is None else pcm)
        return await self.report()

    async def report(self) -> dict[str, Any]:
        """Is silent, in real time, until the server reports on a turn, and gives that."""
        listening = asyncio.create_task(self.until_message("antiphon.turn"), name="listen")
        try:
            while not listening.done():
                await self.say(silence(0.1))
                await asyncio.wait((listening,), timeout=0.1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return dict(listening.result()["turn"])

    async def quiet(self, ms: float) -> None:
        """Is silent, in real time, until the agent has been silent for so long."""
        heard = asyncio.create_task(self._until_quiet(ms / 1000), name="listen")
        try:
            while not heard.done():
                await self.say(silence(0.1))
                await asyncio.wait((heard,), timeout=0.1)
        finally:
            heard.cancel()
            await asyncio.gather(heard, return_exceptions=True)

    async def _until_quiet(self, seconds: float) -> None:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await self.until_audio()
            except TimeoutError:
                return

    async def hung_up_on(self) -> None:
        """Returns when the server ends the call."""
        try:
            while True:
                await self.socket.recv()
        except ConnectionClosed:
            return

    def vanish(self) -> None:
        """The line is cut without a goodbye."""
        self.socket.transport.abort()


@asynccontextmanager
async def dialled(url: str, *, longest_s: float = LONGEST_S, **headers: str) -> AsyncIterator[RawCaller]:
    """A call that lasts until the context ends. Raises TimeoutError when that takes longer than `longest_s`."""
    quirks: dict[str, Any] = {"compression": None, "max_size": None, "proxy": None, "ping_interval": None}
    async with (
        asyncio.timeout(longest_s),
        connect(url, close_timeout=1, additional_headers=headers, **quirks) as socket,
    ):
        yield RawCaller(socket)
