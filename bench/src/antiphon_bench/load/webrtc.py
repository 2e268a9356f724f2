"""A caller's line over WebRTC, as the web page's."""

import asyncio
import fractions
import json
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame

from ..wav import CALL_RATE_HZ
from ..webrtc_media import ping, received
from .caller import Caller
from .material import TICK
from .plan import Plan
from .rows import Outcome
from .wire import audible

OPEN_S = 10.0
# More than a second behind, the oldest frames are lost, as on a line that is too slow.
MOST_WAITING = 50


class _Microphone(MediaStreamTrack):
    """Audio track of the caller, handed to the connection at each tick."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._sent = 0

    async def recv(self) -> AudioFrame:
        pcm = np.frombuffer(await self.frames.get(), "<i2").reshape(1, -1)
        frame = AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = CALL_RATE_HZ, self._sent, fractions.Fraction(1, CALL_RATE_HZ)
        self._sent += TICK
        return frame


class WebRtcLine:
    """One peer connection. The figures it gives hold what the jitter buffers of both sides add."""

    def __init__(self, plan: Plan, caller: Caller) -> None:
        parts = urlsplit(plan.url)
        self._page = f"{'https' if parts.scheme in ('wss', 'https') else 'http'}://{parts.netloc}"
        self._plan = plan
        self._caller = caller
        self._microphone = _Microphone()
        self._over = asyncio.Event()

    def tick(self, due_s: float, now_s: float) -> None:
        if self._caller.done:
            self._over.set()
            return
        if self._microphone.frames.full():
            self._microphone.frames.get_nowait()
        self._microphone.frames.put_nowait(self._caller.tick(due_s, now_s))

    async def run(self) -> None:
        connection = RTCPeerConnection()
        connection.addTrack(self._microphone)
        channel = connection.createDataChannel("antiphon", ordered=True)
        channel.on("message", self._told)
        hearing: list[asyncio.Task[None]] = []

        @connection.on("track")
        def on_track(track: Any) -> None:
            hearing.append(asyncio.create_task(self._hear(track), name="hear"))

        @connection.on("connectionstatechange")
        def on_change() -> None:
            if connection.connectionState in ("failed", "closed", "disconnected"):
                self._over.set()

        try:
            async with asyncio.timeout(OPEN_S):
                await self._negotiate(connection)
        except (httpx.HTTPError, TimeoutError, KeyError, ValueError) as error:
            self._caller.broken(Outcome.REFUSED, str(error) or type(error).__name__, time.monotonic())
            await connection.close()
            return
        pinging = asyncio.create_task(ping(channel), name="ping")
        try:
            await self._over.wait()
        finally:
            for task in (*hearing, pinging):
                task.cancel()
            await asyncio.gather(*hearing, pinging, return_exceptions=True)
            await connection.close()
        if not self._caller.done:
            self._caller.broken(Outcome.DROPPED, "the connection ended", time.monotonic())

    async def _negotiate(self, connection: RTCPeerConnection) -> None:
        headers = {"authorization": f"Bearer {self._plan.token}"} if self._plan.token else {}
        async with httpx.AsyncClient(base_url=self._page, headers=headers, trust_env=False, timeout=OPEN_S) as http:
            body = {"agent": self._plan.agent} if self._plan.agent else {}
            started = await http.post("/start", json={"transport": "webrtc", "body": body})
            started.raise_for_status()
            await connection.setLocalDescription(await connection.createOffer())
            offer = {"sdp": connection.localDescription.sdp, "type": connection.localDescription.type}
            answered = await http.post(f"/sessions/{started.json()['sessionId']}/api/offer", json=offer)
            answered.raise_for_status()
            answer = answered.json()
            await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    async def _hear(self, track: Any) -> None:
        async for samples, rate_hz in received(track):
            if sound := audible(samples, rate_hz, time.monotonic()):
                self._caller.hears(*sound)

    def _told(self, data: Any) -> None:
        try:
            message = json.loads(data)
        except (TypeError, ValueError):
            return
        if not isinstance(message, dict):
            return
        if message.get("type") == "antiphon.session":
            self._caller.session_began(time.monotonic())
        elif message.get("type") == "antiphon.turn" and isinstance(message.get("turn"), dict):
            self._caller.told(message["turn"])
