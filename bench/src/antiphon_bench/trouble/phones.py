"""Transports of a call: a WebSocket, and a WebRTC peer connection."""

import asyncio
import fractions
import json
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ..caller import address
from ..frames import AgentAudio, DropAudio, Message, decode, encode_message, frames_pb2
from ..wav import CALL_RATE_HZ
from ..webrtc_media import ping, received
from .line import TICK, Frame

OPEN_S = 10.0
CLOSE_S = 1.0
# Frames that wait to be sent; the newest is lost when the server takes none.
MOST_WAITING = 5000

Heard = AgentAudio | Message | DropAudio
Take = Callable[[Heard], None]


class Phone(Protocol):
    """A way to call. `closed` is set when the connection has ended, by whomever."""

    session_id: str
    closed: asyncio.Event

    async def open(self, take: Take) -> None: ...

    def send(self, frame: Frame) -> None: ...

    def tell(self, message: dict[str, Any]) -> None: ...

    def put(self, payload: bytes) -> None: ...

    async def close(self) -> None: ...


class WebSocketPhone:
    """Pipecat's protobuf frames over a WebSocket."""

    def __init__(self, page: str, agent: str) -> None:
        self.session_id = ""
        self.closed = asyncio.Event()
        self._address = address(f"ws://{urlsplit(page).netloc}/ws", agent or None, None)
        self._socket: ClientConnection | None = None
        self._out: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, take: Take) -> None:
        """Raises InvalidStatus when the server takes no call."""
        self._socket = await connect(
            self._address, compression=None, open_timeout=OPEN_S, close_timeout=CLOSE_S, max_size=None, proxy=None
        )
        self._tasks = [
            asyncio.create_task(self._hear(self._socket, take), name="hear"),
            asyncio.create_task(self._send(self._socket), name="send"),
        ]

    def send(self, frame: Frame) -> None:
        audio = frames_pb2.AudioRawFrame(audio=frame.audio, sample_rate=frame.rate_hz, num_channels=frame.channels)
        self.put(frames_pb2.Frame(audio=audio).SerializeToString())

    def tell(self, message: dict[str, Any]) -> None:
        self.put(encode_message(message))

    def put(self, payload: bytes) -> None:
        if not self._out.full():
            self._out.put_nowait(payload)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket:
            await self._socket.close()
        self.closed.set()

    async def _hear(self, socket: ClientConnection, take: Take) -> None:
        try:
            async for payload in socket:
                heard = decode(payload)
                if isinstance(heard, Message) and heard.type == "antiphon.session":
                    self.session_id = str(heard.data["session_id"])
                if heard is not None:
                    take(heard)
        except ConnectionClosed:
            return
        finally:
            self.closed.set()

    async def _send(self, socket: ClientConnection) -> None:
        try:
            while True:
                await socket.send(await self._out.get())
        except ConnectionClosed:
            return


class _Microphone(MediaStreamTrack):
    """Ticks of the line, sent when they come: a line that sends nothing sends nothing."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(MOST_WAITING)

    async def recv(self) -> AudioFrame:
        pts, audio = await self.frames.get()
        frame = AudioFrame.from_ndarray(np.frombuffer(audio, "<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = CALL_RATE_HZ, pts, fractions.Fraction(1, CALL_RATE_HZ)
        return frame


class WebRtcPhone:
    """A peer connection as the web page's; `channel=False` leaves the data channel out."""

    def __init__(self, page: str, agent: str, *, channel: bool = True) -> None:
        self.session_id = ""
        self.pc_id = ""
        self.closed = asyncio.Event()
        self._page = page
        self._agent = agent
        self._with_channel = channel
        self._channel: Any = None
        self._connection = RTCPeerConnection()
        self._microphone = _Microphone()
        self._began_s = time.monotonic()
        self._last = -1
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, take: Take) -> None:
        """Raises HTTPError when the server takes no call."""
        self._prepare(take)
        async with httpx.AsyncClient(base_url=self._page, trust_env=False, timeout=OPEN_S) as http:
            body = {"transport": "webrtc", "body": {"agent": self._agent} if self._agent else {}}
            self.session_id = (await http.post("/start", json=body)).raise_for_status().json()["sessionId"]
            await self._offer(http, {})

    async def restart(self, take: Take) -> None:
        """Make another connection of the same call, as Pipecat's client does when it has lost one."""
        old = self._connection
        old.remove_all_listeners()
        await self._cancel()
        self._connection, self._microphone = RTCPeerConnection(), _Microphone()
        self._prepare(take)
        async with httpx.AsyncClient(base_url=self._page, trust_env=False, timeout=OPEN_S) as http:
            await self._offer(http, {"pc_id": self.pc_id, "restart_pc": True})
        await old.close()

    async def description(self) -> dict[str, Any]:
        """An offer, for a case that sends it itself."""
        self._connection.addTrack(self._microphone)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return {"sdp": self._connection.localDescription.sdp, "type": self._connection.localDescription.type}

    async def _offer(self, http: httpx.AsyncClient, more: dict[str, Any]) -> None:
        asked = await self.description() | more
        answered = await http.post(f"/sessions/{self.session_id}/api/offer", json=asked)
        answer = answered.raise_for_status().json()
        self.pc_id = str(answer.get("pc_id") or "")
        await self._connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    def _prepare(self, take: Take) -> None:
        if self._with_channel:
            self._channel = self._connection.createDataChannel("antiphon", ordered=True)
            self._channel.on("message", lambda data: _told(data, take))
            self._tasks.append(asyncio.create_task(ping(self._channel), name="ping"))

        @self._connection.on("track")
        def on_track(track: Any) -> None:
            self._tasks.append(asyncio.create_task(_hear(track, take), name="hear"))

        @self._connection.on("connectionstatechange")
        def on_change() -> None:
            if self._connection.connectionState in ("failed", "closed", "disconnected"):
                self.closed.set()

    def send(self, frame: Frame) -> None:
        # The place in time is the wall clock's, so that a gap in what is sent is a gap in time.
        at = max(round((time.monotonic() - self._began_s) / 0.02), self._last + 1)
        self._last = at
        if not self._microphone.frames.full():
            self._microphone.frames.put_nowait((at * TICK, frame.audio))

    def tell(self, message: dict[str, Any]) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(json.dumps(message))

    def put(self, payload: bytes) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(payload)

    async def close(self) -> None:
        await self._cancel()
        await self._connection.close()
        self.closed.set()

    async def _cancel(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(track: Any, take: Take) -> None:
    async for samples, rate_hz in received(track):
        take(AgentAudio(samples.astype(np.float32), rate_hz))


def _told(data: Any, take: Take) -> None:
    try:
        message = json.loads(data)
    except (TypeError, ValueError):
        return
    if isinstance(message, dict):
        take(DropAudio() if message.get("type") == "antiphon.interrupted" else Message(message))
