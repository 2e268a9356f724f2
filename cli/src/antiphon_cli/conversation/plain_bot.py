"""`python -m antiphon_cli.conversation.plain_bot`: a Pipecat bot of the shape of NVIDIA's and the seed's examples.

The same gRPC services through the same adapters, and around them what Pipecat 1.14 does by default: Silero and Smart
Turn in this process, a final transcript asked for once the caller has stopped, the model asked once the turn is over,
sentences to the voice, chunks of 40 ms to the caller. It runs on uvloop where there is one, as ours does.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import LLMContextAssistantTurnFrame, LLMFullResponseStartFrame
from pipecat.frames.frames import OutputTransportMessageUrgentFrame as Outgoing
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.tts_service import TextAggregationMode
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.utils.text.simple_text_aggregator import SimpleTextAggregator
from pipecat.workers.runner import WorkerRunner
from uvicorn.loops.auto import auto_loop_factory

from antiphon_orchestrator.backends import Backends, connected
from antiphon_orchestrator.services import AntiphonLLMService, AntiphonSTTService, AntiphonTTSService
from antiphon_orchestrator.serving import quiet_pipecat
from antiphon_orchestrator.settings import Settings
from antiphon_runtime.settings import read_settings


class SentencesTTSService(AntiphonTTSService):
    """Ours, with Pipecat's own sentences instead of tokens."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._text_aggregation_mode = TextAggregationMode.SENTENCE
        self._text_aggregator = SimpleTextAggregator(aggregation_type=TextAggregationMode.SENTENCE)  # type: ignore[no-untyped-call]


class TurnReporter(BaseObserver):
    """Tells the caller of each answered turn, in the messages that ours sends."""

    def __init__(self, latency: UserBotLatencyObserver) -> None:
        super().__init__(observe_every_push=False)
        self.worker: PipelineWorker | None = None
        self._turns = 0
        self._llm_calls = 0
        self._v2v_ms: float | None = None

        async def on_latency(_observer: UserBotLatencyObserver, seconds: float) -> None:
            self._v2v_ms = seconds * 1000

        latency.add_event_handler("on_latency_measured", on_latency)

    async def on_push_frame(self, data: FramePushed) -> None:
        match data.frame:
            case LLMFullResponseStartFrame():
                self._llm_calls += 1
            case LLMContextAssistantTurnFrame() if not data.frame.broadcast_sibling_id or (
                data.frame.id < data.frame.broadcast_sibling_id
            ):
                await self._report(data.frame.text)

    async def _report(self, answered: str) -> None:
        self._turns += 1
        turn = {
            "turn_id": self._turns,
            "outcome": "answered",
            "answered": answered,
            "v2v_ms": self._v2v_ms,
            "llm_calls": self._llm_calls,
        }
        self._llm_calls, self._v2v_ms = 0, None
        if self.worker:
            await self.worker.queue_frame(Outgoing(message={"type": "antiphon.turn", "turn": turn}))


async def converse(websocket: WebSocket, backends: Backends) -> None:
    """One call."""
    transport = FastAPIWebsocketTransport(
        websocket,
        FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=ProtobufFrameSerializer()),
    )
    memory = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    latency = UserBotLatencyObserver()
    reporter = TurnReporter(latency)
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                AntiphonSTTService(replicas=backends.asr, commit_on_vad_stop=True),
                memory.user(),
                AntiphonLLMService(replicas=backends.llm),
                SentencesTTSService(replicas=backends.tts),
                transport.output(),
                memory.assistant(),
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=24_000, enable_metrics=True),
        observers=[latency, reporter],
        idle_timeout_secs=None,
    )
    reporter.worker = worker

    async def on_connected(_transport: Any, _client: Any) -> None:
        hello = {"type": "antiphon.session", "session_id": f"plain-{time.monotonic_ns()}", "agent": "plain"}
        await worker.queue_frame(Outgoing(message=hello))

    async def on_disconnected(_transport: Any, _client: Any) -> None:
        await worker.cancel()

    transport.add_event_handler("on_client_connected", on_connected)
    transport.add_event_handler("on_client_disconnected", on_disconnected)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    await runner.run()


async def serve(settings: Settings) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connected(settings) as backends:
            app.state.backends = backends
            yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def call(websocket: WebSocket) -> None:
        await websocket.accept()
        await converse(websocket, app.state.backends)

    host, _, port = settings.bind.rpartition(":")
    config = uvicorn.Config(
        app, host=host, port=int(port), log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    settings = read_settings(Settings)
    quiet_pipecat("ERROR", log_text=False)
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
