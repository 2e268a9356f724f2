"""An agent on the orchestrator's protocol that answers with a tone, a known time after the caller's last sample."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np
from pipecat.frames.protobufs import frames_pb2 as generated
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ..wav import Samples, to_pcm
from .synth import tone

frames_pb2: Any = generated

_RATE_HZ = 24_000
_FRAME_S = 0.040
_VOICED = 0.005
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Manner:
    """How the agent behaves. `ahead`: sends an answer all at once, as a fast TTS may, instead of in real time.

    `silence_s` is what it waits for before it takes the caller for finished; `silent` ones never answer; `dies_after_s`
    cuts the connection without a goodbye that long after the first answer began; `junk` sends malformed frames as well.

    Every `slow_every`-th answer of all comes after `slow_s` instead. An echoing one sends back what it hears, `echo_s`
    later; an early one answers so long after the caller began; what it reports of an answer's latency may be a claim.
    """

    delay_s: float = 0.5
    answer_s: float = 0.8
    greeting_s: float = 0.0
    silence_s: float = 0.1
    slow_every: int = 0
    slow_s: float = 0.0
    echo_s: float | None = None
    early_s: float | None = None
    claims_ms: float | None = None
    ahead: bool = False
    silent: bool = False
    reports: bool = True
    introduces_itself: bool = True
    refuses: HTTPStatus | None = None
    dies_after_s: float | None = None
    junk: bool = False
    rate_hz: int = _RATE_HZ


@dataclass(slots=True)
class KnownAgent:
    """A running agent, and what happened: true latencies, times at which frames arrived, paths asked for.

    `late_ms` is the worst delay of a 5 ms tick: no hand-over between the agent and a caller on its loop was later.
    """

    url: str = ""
    late_ms: float = 0.0
    v2v_ms: list[float] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: int = 0

    def delay_s(self, manner: Manner) -> float:
        """Of the next answer."""
        self.answers += 1
        slow = manner.slow_every and self.answers % manner.slow_every == 0
        return manner.slow_s if slow else manner.delay_s


@asynccontextmanager
async def answering(manner: Manner) -> AsyncIterator[KnownAgent]:
    """An agent at `.url` until the context ends."""
    known = KnownAgent()

    def gate(connection: ServerConnection, request: Request) -> Response | None:
        known.paths.append(request.path)
        return connection.respond(manner.refuses, "no\n") if manner.refuses else None

    async def call(socket: ServerConnection) -> None:
        # A hang-up ends the call wherever it is; that is how calls end.
        try:
            await _Conversation(socket, manner, known).run()
        except* ConnectionClosed:
            pass

    async with serve(call, "127.0.0.1", 0, process_request=gate, compression=None) as server:
        known.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        watch = asyncio.create_task(_watch(known), name="watch")
        try:
            yield known
        finally:
            watch.cancel()


async def _watch(known: KnownAgent) -> None:
    while True:
        due = time.monotonic() + _TICK_S
        await asyncio.sleep(_TICK_S)
        known.late_ms = max(known.late_ms, (time.monotonic() - due) * 1000)


class _Conversation:
    def __init__(self, socket: ServerConnection, manner: Manner, known: KnownAgent) -> None:
        self._socket = socket
        self._manner = manner
        self._known = known
        self._answer: asyncio.Task[None] | None = None
        self._speech_end_s: float | None = None
        self._turns = 0

    async def run(self) -> None:
        if self._manner.introduces_itself:
            await self._tell({"type": "antiphon.session", "session_id": "known-1", "agent": "known"})
        await self._tell({"label": "rtvi-ai", "type": "bot-ready", "data": {}})
        async with asyncio.TaskGroup() as tasks:
            if self._manner.greeting_s:
                self._answer = tasks.create_task(self._say(self._manner.greeting_s), name="greeting")
            async for payload in self._socket:
                await self._hear(payload, tasks)
            if self._answer is not None:
                self._answer.cancel()

    async def _hear(self, payload: str | bytes, tasks: asyncio.TaskGroup) -> None:
        now = time.monotonic()
        self._known.arrivals_s.append(now)
        pcm = np.frombuffer(frames_pb2.Frame.FromString(payload).audio.audio, "<i2").astype(np.float32) / 32768.0
        voiced = np.flatnonzero(np.abs(pcm) >= _VOICED)
        if self._manner.echo_s is not None:
            tasks.create_task(self._echo(pcm, self._manner.echo_s), name="echo")
        if len(voiced):
            if self._speech_end_s is None and self._manner.early_s is not None:
                tasks.create_task(self._interject(self._manner.early_s), name="early")
            # The last sample of the frame is the one that was spoken just now.
            self._speech_end_s = now - (len(pcm) - 1 - int(voiced[-1])) / 16_000
            if self._answer is not None and not self._answer.done():
                self._answer.cancel()
                await self._tell({"type": "antiphon.interrupted"})
                await self._report("interrupted", self._known.v2v_ms[-1] if self._known.v2v_ms else None)
        elif self._speech_end_s is not None and now - self._speech_end_s >= self._manner.silence_s:
            speech_end_s, self._speech_end_s = self._speech_end_s, None
            if not self._manner.silent:
                self._answer = tasks.create_task(self._reply(speech_end_s), name="answer")

    async def _reply(self, speech_end_s: float) -> None:
        await asyncio.sleep(speech_end_s + self._known.delay_s(self._manner) - time.monotonic())
        v2v_ms = (time.monotonic() - speech_end_s) * 1000
        self._known.v2v_ms.append(v2v_ms)
        await self._say(self._manner.answer_s)
        await self._report("answered", v2v_ms)

    async def _echo(self, pcm: Samples, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._send(_audio_frame(pcm, 16_000))

    async def _interject(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._say(self._manner.answer_s)

    async def _say(self, seconds: float) -> None:
        rate = self._manner.rate_hz
        samples = tone(seconds, rate, hz=500.0)
        size = round(_FRAME_S * rate)
        began = time.monotonic()
        if self._manner.junk:
            await self._socket.send(b"\xff\xfe not a frame")
            await self._socket.send("text, not bytes")
            await self._send(_message_frame("{ not json"))
            await self._send(_audio_frame(samples[:size], 0))
        for number, start in enumerate(range(0, len(samples), size)):
            await self._send(_audio_frame(samples[start : start + size], rate))
            if self._manner.dies_after_s is not None and number * _FRAME_S >= self._manner.dies_after_s:
                self._socket.transport.abort()
            if not self._manner.ahead:
                await asyncio.sleep(began + (number + 1) * _FRAME_S - time.monotonic())
        await asyncio.sleep(began + seconds - time.monotonic())

    async def _report(self, outcome: str, v2v_ms: float | None) -> None:
        self._turns += 1
        if not self._manner.reports:
            return
        v2v_ms = v2v_ms if self._manner.claims_ms is None else self._manner.claims_ms
        half = None if v2v_ms is None else v2v_ms / 2
        stages = [{"name": "pause", "start_ms": 0, "end_ms": half}, {"name": "tts", "start_ms": half, "end_ms": v2v_ms}]
        turn = {
            "turn_id": f"turn-{self._turns}",
            "outcome": outcome,
            "heard": f"question {self._turns}",
            "answered": f"answer {self._turns}",
            "v2v_ms": v2v_ms,
            "stages": stages,
            "spans": stages,
        }
        await self._tell({"type": "antiphon.turn", "turn": turn})

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._send(_message_frame(json.dumps(message)))

    async def _send(self, frame: Any) -> None:
        await self._socket.send(frame.SerializeToString())


def _audio_frame(samples: Samples, rate_hz: int) -> Any:
    audio = frames_pb2.AudioRawFrame(audio=to_pcm(samples).tobytes(), sample_rate=rate_hz, num_channels=1)
    return frames_pb2.Frame(audio=audio)


def _message_frame(text: str) -> Any:
    return frames_pb2.Frame(message=frames_pb2.MessageFrame(data=text))
