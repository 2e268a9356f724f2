"""One conversation: its pipeline run to the end, its turns kept."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from pipecat.clocks.system_clock import SystemClock
from pipecat.frames.frames import EndFrame, OutputTransportMessageUrgentFrame, TTSSpeakFrame
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from .backends import Backends
from .ledger import Ledger
from .manners.manners import Manners
from .manners.phrases import Line, Occasion, PhraseBook, lines_of
from .manners.spokesman import Patience, SayFrame, Spokesman
from .observer import TimelineObserver
from .pipeline import build_pipeline
from .records.recorder import CallRecorder
from .records.recording import Recording
from .session import INPUT_RATE_HZ, OUTPUT_RATE_HZ, Session
from .timeline import Turn
from .tools import TOOLS, Resources, read_knowledge

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
    on_turn: Callable[[Turn], Awaitable[None]],
    on_empty: Callable[[], None] | None = None,
    on_underruns: Callable[[int], None] | None = None,
    recording: Recording | None = None,
) -> None:
    """Runs the conversation until the caller hangs up or this is cancelled."""
    agent = session.agent
    session.context = LLMContext(agent.messages(), tools=[TOOLS[name] for name in agent.tools])  # type: ignore[arg-type]
    recorder = CallRecorder(recording) if recording else None

    async def say(occasion: Occasion) -> None:
        await worker.queue_frame(SayFrame(occasion=occasion))

    async def hang_up() -> None:
        session.end("agent")
        await worker.queue_frame(EndFrame())

    lines = lines_of(agent)
    manners = Manners(say, hang_up)
    spokesman = Spokesman(backends.phrases, lines, Patience(agent.filler_after_s, agent.answer_within_s))
    pipeline = build_pipeline(session, transport, backends, spokesman, manners.idle, recorder)

    async def closed(turn: Turn, waiting: bool) -> None:
        turn.apologized = waiting and Occasion.APOLOGY in lines
        await on_turn(turn)
        ledger.closed(turn)
        message = {"type": "antiphon.turn", "turn": turn.to_json()}
        await worker.queue_frame(OutputTransportMessageUrgentFrame(message=message))
        await manners.turn_over(turn, waiting=waiting)

    clock = SystemClock()
    ledger = Ledger(session, clock, on_empty)
    observer = TimelineObserver(closed, ledger.empty, ledger.begun, on_underruns)
    worker = PipelineWorker(
        pipeline,
        params=PARAMS.model_copy(),
        clock=clock,
        observers=[observer],
        app_resources=Resources(knowledge=read_knowledge(agent.knowledge_file)),
        # A caller may listen in silence for long; what ends a call is the hang-up.
        idle_timeout_secs=None,
    )
    session.worker = worker
    _handle_events(session, transport, worker, recording)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    try:
        async with _learning(backends.phrases, lines.values()):
            await runner.run()
    finally:
        session.worker = None
        try:
            await observer.finish()
        finally:
            if recording:
                await recording.finish()


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
    recording: Recording | None,
) -> None:
    async def on_connected(_transport: BaseTransport, _client: Any) -> None:
        hello = {"type": "antiphon.session", "session_id": session.session_id, "agent": session.agent_name}
        frames: list[Any] = [OutputTransportMessageUrgentFrame(message=hello)]
        if recording:
            recording.start()
        if session.agent.greeting:
            frames.append(TTSSpeakFrame(session.agent.greeting))
        await worker.queue_frames(frames)

    async def on_disconnected(_transport: BaseTransport, _client: Any) -> None:
        session.end("caller")
        await worker.cancel()

    transport.add_event_handler("on_client_connected", on_connected)
    transport.add_event_handler("on_client_disconnected", on_disconnected)
