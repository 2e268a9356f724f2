"""One conversation: its pipeline run to the end, its turns kept."""

import asyncio
import wave
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pipecat.clocks.system_clock import SystemClock
from pipecat.frames.frames import ErrorFrame, OutputTransportMessageUrgentFrame, TTSSpeakFrame
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from .account import Account
from .audio_gaps import GapFiller
from .backends import Backends
from .hang_up import HangUp
from .ledger import Ledger
from .manners.phrases import Line, Occasion, PhraseBook, lines_of
from .manners.spokesman import Patience, Spokesman
from .observer import TimelineObserver
from .pipeline import build_pipeline
from .session import INPUT_RATE_HZ, OUTPUT_RATE_HZ, Session
from .tools import TOOLS, Resources, read_knowledge
from .trouble import TroubleObserver

PARAMS = PipelineParams(
    audio_in_sample_rate=INPUT_RATE_HZ,
    audio_out_sample_rate=OUTPUT_RATE_HZ,
    enable_metrics=True,
    enable_usage_metrics=True,
    send_initial_empty_metrics=False,
)


async def converse(
    session: Session,
    transport: BaseTransport,
    backends: Backends,
    *,
    record_to: Path | None = None,
) -> None:
    """Runs the conversation until the caller hangs up or this is cancelled."""
    agent = session.agent
    session.context = LLMContext(agent.messages(), tools=[TOOLS[name] for name in agent.tools])  # type: ignore[arg-type]
    recorder = AudioBufferProcessor(num_channels=2) if record_to else None

    lines = lines_of(agent)
    hang_up = HangUp(session)
    spokesman = Spokesman(
        backends.phrases, lines, Patience(agent.filler_after_s, agent.answer_within_s), hang_up.after_last_words
    )
    gaps = GapFiller(on_filled=session.metrics.audio_gap, on_dropped=session.metrics.audio_dropped)
    pipeline = build_pipeline(session, transport, backends, gaps, spokesman, recorder)

    async def send(message: dict[str, Any]) -> None:
        await worker.queue_frame(OutputTransportMessageUrgentFrame(message=message))

    clock = SystemClock()
    account = Account(session, Ledger(session, clock), send, apologizes=Occasion.APOLOGY in lines)
    observer = TimelineObserver(
        account.closed,
        account.empty,
        account.begun,
        session.metrics.underruns,
        was_cut_off=session.was_cut_off,
        containment=session.containment,
    )
    trouble = TroubleObserver(session.metrics.trouble, lambda: session.playout.said, session.containment)
    worker = PipelineWorker(
        pipeline,
        params=PARAMS.model_copy(),
        clock=clock,
        observers=[observer, trouble],
        app_resources=Resources(knowledge=read_knowledge(agent.knowledge_file)),
        # A caller may listen in silence for long; what ends a call is the hang-up.
        idle_timeout_secs=None,
    )
    session.worker = worker
    _handle_events(session, transport, worker, recorder, record_to)

    async def on_error(_worker: PipelineWorker, error: ErrorFrame) -> None:
        await spokesman.failed(error)

    worker.add_event_handler("on_pipeline_error", on_error)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    try:
        async with hang_up, _learning(backends.phrases, lines.values()):
            await runner.run()
    finally:
        session.worker = None
        await observer.finish()
        trouble.finish()


@asynccontextmanager
async def _learning(book: PhraseBook, lines: Iterable[Line]) -> AsyncIterator[None]:
    """Has the phrases ready soon after the call's beginning, which does not wait for them."""
    learning = asyncio.create_task(book.learn(lines), name="phrases")
    try:
        yield
    finally:
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)


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
        session.end("caller")
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
