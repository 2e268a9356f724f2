"""Latency added by a line: time until a click is answered with one, over the orchestrator's own transports."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import uvicorn
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame, OutputTransportMessageUrgentFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner
from platform_fixture import until
from prometheus_client import CollectorRegistry

from antiphon_bench import questions
from antiphon_bench.load.material import TICK, TICK_S
from antiphon_bench.load.pacing import Pacer
from antiphon_bench.load.plan import Plan, Transport
from antiphon_bench.load.run import Line
from antiphon_bench.load.webrtc import WebRtcLine
from antiphon_bench.load.wire import WsLine
from antiphon_bench.testing.synth import tone
from antiphon_bench.wav import to_pcm
from antiphon_orchestrator.agents import Agents
from antiphon_orchestrator.backends import connected
from antiphon_orchestrator.gate import Gate
from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.session import INPUT_RATE_HZ, OUTPUT_RATE_HZ, Session
from antiphon_orchestrator.sessions import Sessions
from antiphon_orchestrator.settings import Settings
from antiphon_orchestrator.web import create_app
from antiphon_orchestrator.workers.places import Places

CLICKS = 12
LOUD = 1000
EVERY_TICKS = 50


class _Echo(FrameProcessor):
    """Answers at once, in the transport's own rate and chunks, so that nothing but the line takes time."""

    def __init__(self) -> None:
        super().__init__()
        self._loud = False
        self._answer = to_pcm(tone(2 * TICK_S, OUTPUT_RATE_HZ)).tobytes()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            loud = bool(np.abs(np.frombuffer(frame.audio, "<i2")).max(initial=0) > LOUD)
            if loud and not self._loud:
                await self.push_frame(OutputAudioRawFrame(self._answer, OUTPUT_RATE_HZ, 1))
            self._loud = loud
        else:
            await self.push_frame(frame, direction)


class EchoSessions(Sessions):
    """Sessions that answer each click with a click, to measure the line alone."""

    async def run(self, session: Session, transport: BaseTransport) -> None:
        params = PipelineParams(audio_in_sample_rate=INPUT_RATE_HZ, audio_out_sample_rate=OUTPUT_RATE_HZ)
        pipeline = Pipeline([transport.input(), _Echo(), transport.output()])
        worker = PipelineWorker(pipeline, params=params, idle_timeout_secs=None)
        session.worker = worker

        async def on_connected(_transport: object, _client: object) -> None:
            await worker.queue_frame(OutputTransportMessageUrgentFrame(message={"type": "antiphon.session"}))

        async def on_disconnected(_transport: object, _client: object) -> None:
            await worker.cancel()

        transport.add_event_handler("on_client_connected", on_connected)
        transport.add_event_handler("on_client_disconnected", on_disconnected)
        runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(worker)
        await runner.run()


class Clicker:
    """In the place of a caller: sends short tones, and notes how long after its last sample each is answered."""

    def __init__(self) -> None:
        self._frames = [bytes(2 * TICK)] * EVERY_TICKS
        self._frames[0] = to_pcm(tone(TICK_S, INPUT_RATE_HZ)).tobytes()
        self._begun = False
        self._tick = 0
        self._sent_s: float | None = None
        self.delays_ms: list[float] = []

    @property
    def done(self) -> bool:
        return len(self.delays_ms) >= CLICKS

    def session_began(self, _now_s: float) -> None:
        self._begun = True

    def tick(self, due_s: float, _now_s: float) -> bytes:
        number = self._tick % EVERY_TICKS
        self._tick += self._begun
        if not number and self._begun:
            self._sent_s = due_s
        return self._frames[number] if self._begun else self._frames[-1]

    def hears(self, first_s: float, _last_s: float) -> None:
        if self._sent_s is not None:
            self.delays_ms.append((first_s - self._sent_s) * 1000)
            self._sent_s = None

    def told(self, _turn: object) -> None:
        pass

    def broken(self, outcome: object, error: str, _now_s: float) -> None:
        raise AssertionError(f"the echo's line: {outcome}: {error}")


@asynccontextmanager
async def _echoing() -> AsyncIterator[str]:
    settings = Settings(bind="127.0.0.1:0", asr="127.0.0.1:9", tts="127.0.0.1:9", llm="127.0.0.1:9", turn="127.0.0.1:9")
    async with connected(settings) as backends:
        metrics = Metrics.register(CollectorRegistry())
        sessions = EchoSessions(backends, Agents.load(settings.agents_file), metrics, places=Places(4))
        config = uvicorn.Config(create_app(settings, sessions, Gate()), port=0, log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"ws://127.0.0.1:{port}/ws"
        finally:
            server.should_exit = True
            await serving


async def line_ms(transport: Transport) -> list[float]:
    """The times from what a caller says to hearing an instant answer, over this transport, in ms."""
    clicker = Clicker()
    async with _echoing() as url:
        line = _line(url, transport, clicker)
        pacer = Pacer(time.monotonic())

        async def keep_time() -> None:
            async for due_s, now_s in pacer.ticks():
                line.tick(due_s, now_s)

        pacing = asyncio.create_task(keep_time())
        try:
            async with asyncio.timeout(180):
                await line.run()
        finally:
            pacing.cancel()
            await asyncio.gather(pacing, return_exceptions=True)
    return clicker.delays_ms


def _line(url: str, transport: Transport, clicker: Clicker) -> Line:
    plan = Plan(url, 1, questions())
    made = WebRtcLine if transport is Transport.WEBRTC else WsLine
    return made(plan, clicker)  # type: ignore[arg-type]
