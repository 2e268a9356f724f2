"""A caller over WebRTC who can misbehave: what goes over the data channel is up to the test."""

import asyncio
import fractions
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import av
import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

RATE = 48_000
TICK = RATE // 50
# Of a sample; what Opus makes of silence is below.
LOUD = 100


class Microphone(MediaStreamTrack):
    """Silence, and what it is told to say, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._left = np.zeros(0, "<i2")
        self._start_s: float | None = None
        self._ticks = 0

    def say(self, pcm: bytes, rate_hz: int = 16_000) -> None:
        self._left = np.repeat(np.frombuffer(pcm, "<i2"), RATE // rate_hz)

    async def recv(self) -> av.AudioFrame:
        if self._start_s is None:
            self._start_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._start_s + self._ticks * 0.02 - time.monotonic()))
        tick, self._left = self._left[:TICK], self._left[TICK:]
        frame = av.AudioFrame.from_ndarray(np.pad(tick, (0, TICK - len(tick)))[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._ticks * TICK, fractions.Fraction(1, RATE)
        self._ticks += 1
        return frame


class RtcCaller:
    """One call. `messages` has all that the server said on the data channel, `heard_s` how long it was loud."""

    def __init__(self, page: str, http: httpx.AsyncClient) -> None:
        self.microphone = Microphone()
        self.messages: list[dict[str, Any]] = []
        self.session_id = self.pc_id = ""
        self.heard_s = 0.0
        self._listening: set[asyncio.Task[None]] = set()
        self._page, self._http = page, http
        self.peer: RTCPeerConnection | None = None
        self.channel: RTCDataChannel | None = None

    def send(self, message: dict[str, Any] | str) -> None:
        assert self.channel
        self.channel.send(message if isinstance(message, str) else json.dumps(message))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message.get("type") == kind]

    async def start(self, agent: str = "") -> None:
        body = {"transport": "webrtc", "body": {"agent": agent}}
        self.session_id = (await self._http.post(f"{self._page}/start", json=body)).json()["sessionId"]
        await self.offer()

    async def offer(self, **options: Any) -> None:
        """Connects, or connects again by a new peer connection."""
        before, peer = self.peer, RTCPeerConnection()
        self.peer = peer
        self.microphone = Microphone()
        peer.addTrack(self.microphone)
        peer.on("track", self._on_track)
        self.channel = peer.createDataChannel("chat")
        self.channel.on("message", self._on_message)
        await peer.setLocalDescription(await peer.createOffer())
        path = f"{self._page}/sessions/{self.session_id}/api/offer"
        offer = {"sdp": peer.localDescription.sdp, "type": "offer"} | options
        answer = (await self._http.post(path, json=offer)).json()
        self.pc_id = answer["pc_id"]
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        if before:
            await before.close()

    async def hang_up(self) -> None:
        if self.peer:
            await self.peer.close()
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._listening.add(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                if np.abs(frame.to_ndarray()).max() > LOUD:
                    self.heard_s += frame.samples / frame.sample_rate

    def _on_message(self, message: str) -> None:
        parsed = json.loads(message)
        if isinstance(parsed, dict):
            self.messages.append(parsed)


@asynccontextmanager
async def calling(page: str, agent: str = "") -> AsyncIterator[RtcCaller]:
    """A call that lasts until the context ends."""
    async with httpx.AsyncClient(trust_env=False) as http:
        caller = RtcCaller(page, http)
        await caller.start(agent)
        try:
            yield caller
        finally:
            await caller.hang_up()
