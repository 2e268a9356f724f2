"""One conversation: its pipeline run to the end, its turns kept."""

import logging
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipecat.frames.frames import OutputTransportMessageUrgentFrame, TTSSpeakFrame
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from .agents import Agent
from .backends import Backends
from .observer import TimelineObserver
from .pipeline import build_pipeline
from .timeline import Turn
from .tools import TOOLS, Resources, read_knowledge

log = logging.getLogger(__name__)

INPUT_RATE_HZ = 16_000
OUTPUT_RATE_HZ = 24_000


@dataclass(slots=True)
class Session:
    """A conversation's name, its agent, and what has happened in it so far."""

    session_id: str
    agent_name: str
    agent: Agent
    turns: list[Turn] = field(default_factory=list)
    context: LLMContext | None = None
    worker: PipelineWorker | None = None

    async def hang_up(self) -> None:
        """Ends the conversation from our side."""
        if self.worker:
            await self.worker.cancel()

    def to_json(self) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "agent": self.agent_name,
            "turns": [turn.to_json() for turn in self.turns],
        }


async def converse(
    session: Session,
    transport: BaseTransport,
    backends: Backends,
    *,
    on_turn: Callable[[Turn], Awaitable[None]],
    on_empty: Callable[[], None] | None = None,
    record_to: Path | None = None,
) -> None:
    """Runs the conversation until the caller hangs up or this is cancelled."""
    agent = session.agent
    session.context = LLMContext(agent.messages(), tools=[TOOLS[name] for name in agent.tools])  # type: ignore[arg-type]
    recorder = AudioBufferProcessor(num_channels=2) if record_to else None
    pipeline = build_pipeline(transport, backends, agent, session.context, session.session_id, recorder)

    async def closed(turn: Turn) -> None:
        session.turns.append(turn)
        log.info("turn %s %s: %s", turn.turn_id, turn.outcome, _summary(turn))
        await on_turn(turn)
        await worker.queue_frame(
            OutputTransportMessageUrgentFrame(message={"type": "antiphon.turn", "turn": turn.to_json()})
        )

    observer = TimelineObserver(closed, on_empty)
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(
            audio_in_sample_rate=INPUT_RATE_HZ,
            audio_out_sample_rate=OUTPUT_RATE_HZ,
            enable_metrics=True,
            enable_usage_metrics=True,
            send_initial_empty_metrics=False,
        ),
        observers=[observer],
        app_resources=Resources(knowledge=read_knowledge(agent.knowledge_file)),
        # A caller may listen in silence for long; what ends a call is the hang-up.
        idle_timeout_secs=None,
    )
    session.worker = worker
    _handle_events(session, transport, worker, recorder, record_to)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    try:
        await runner.run()
    finally:
        session.worker = None
        await observer.finish()


def _handle_events(
    session: Session,
    transport: BaseTransport,
    worker: PipelineWorker,
    recorder: AudioBufferProcessor | None,
    record_to: Path | None,
) -> None:
    async def on_connected(_transport: BaseTransport, _client: Any) -> None:
        hello = {"type": "antiphon.session", "session_id": session.session_id, "agent": session.agent_name}
        frames: list[Any] = [OutputTransportMessageUrgentFrame(message=hello)]
        if recorder:
            await recorder.start_recording()
        if session.agent.greeting:
            frames.append(TTSSpeakFrame(session.agent.greeting))
        await worker.queue_frames(frames)

    async def on_disconnected(_transport: BaseTransport, _client: Any) -> None:
        await worker.cancel()

    async def on_audio(_recorder: Any, audio: bytes, sample_rate: int, num_channels: int) -> None:
        if record_to:
            _write_wav(record_to, audio, sample_rate, num_channels)

    transport.add_event_handler("on_client_connected", on_connected)
    transport.add_event_handler("on_client_disconnected", on_disconnected)
    if recorder:
        recorder.add_event_handler("on_audio_data", on_audio)


def _write_wav(path: Path, audio: bytes, sample_rate: int, num_channels: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(num_channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(audio)


def _summary(turn: Turn) -> str:
    if turn.v2v_ms is None:
        return turn.error or "no answer"
    stages = " ".join(f"{stage.name}={(stage.end_ns - stage.start_ns) / 1e6:.0f}" for stage in turn.stages)
    return f"v2v={turn.v2v_ms:.0f} ms: {stages}"
