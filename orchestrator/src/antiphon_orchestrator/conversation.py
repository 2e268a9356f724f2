"""One conversation: its pipeline run to the end, its turns kept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

from pipecat.clocks.system_clock import SystemClock
from pipecat.frames.frames import ErrorFrame, OutputTransportMessageUrgentFrame, TTSSpeakFrame
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from .account import Account
from .audio_gaps import GapFiller
from .backends import Backends
from .ledger import Ledger
from .limits import with_deadline
from .manners.closing import Closing, after_call_length
from .manners.leaving import Leaving
from .manners.phrases import Occasion, lines_of
from .manners.spokesman import Patience, ServiceFailedFrame, Spokesman
from .observer import TimelineObserver
from .pipeline import build_pipeline
from .records.recorder import CallRecorder
from .records.recording import Recording
from .rtvi import CallerRTVIProcessor
from .session import INPUT_RATE_HZ, OUTPUT_RATE_HZ, Session
from .tools import TOOLS, Resources, read_knowledge
from .trouble import TroubleObserver

log = logging.getLogger(__name__)

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
    recording: Recording | None = None,
) -> None:
    """Runs the conversation until the caller hangs up or this is cancelled."""
    agent = session.agent
    tools = [with_deadline(TOOLS[name], agent.tool_timeout_s, session.limit_reached) for name in agent.tools]
    session.context = LLMContext(agent.messages(), tools=tools)  # type: ignore[arg-type]
    recorder = CallRecorder(recording) if recording else None

    lines = lines_of(agent)
    leaving = Leaving(session, backends.phrases, lines)
    spokesman = Spokesman(backends.phrases, lines, Patience(agent.filler_after_s, agent.answer_within_s), leaving.leave)
    gaps = GapFiller(on_filled=session.metrics.audio_gap, on_dropped=session.metrics.audio_dropped)
    pipeline = build_pipeline(session, transport, backends, gaps, spokesman, recorder)
    clock = SystemClock()
    account = Account(session, Ledger(session, clock), apologizes=Occasion.APOLOGY in lines)
    observer = TimelineObserver(account, was_cut_off=session.was_cut_off, containment=session.containment)
    trouble = TroubleObserver(session.metrics.trouble, lambda: session.playout.said, session.containment)
    worker = PipelineWorker(
        pipeline,
        params=PARAMS.model_copy(),
        clock=clock,
        observers=[observer, trouble],
        app_resources=Resources(knowledge=read_knowledge(agent.knowledge_file)),
        # A caller may listen in silence for long; what ends a call is the hang-up.
        idle_timeout_secs=None,
        rtvi_processor=CallerRTVIProcessor(
            cast(BaseOutputTransport, transport.output()).send_message, session.containment
        ),
    )
    session.worker = worker
    session.closing = leaving.closing = Closing(worker, pipeline)
    _handle_events(session, transport, worker, recording)
    soon = [line for occasion, line in lines.items() if occasion is not Occasion.TIME_UP]
    try:
        async with (
            _beside(backends.phrases.learn(soon), "phrases"),
            _beside(after_call_length(agent.max_call_s, leaving.time_up, leaving.prepare_time_up), "call length"),
            _beside(leaving.closing.enforce(), "closing"),
        ):
            await _run(worker)
    finally:
        session.worker = None
        await observer.finish()
        trouble.finish()
        if recording:
            await recording.finish()


async def _run(worker: PipelineWorker) -> None:
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    await runner.run()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Runs `work` while the context lasts, without waiting for it."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Exception):
            log.error("%s failed", name, exc_info=result)


def _handle_events(
    session: Session,
    transport: BaseTransport,
    worker: PipelineWorker,
    recording: Recording | None,
) -> None:
    reconnected = False

    async def on_connected(_transport: BaseTransport, _client: Any) -> None:
        nonlocal reconnected
        hello = {"type": "antiphon.session", "session_id": session.session_id, "agent": session.agent_name}
        frames: list[Any] = [OutputTransportMessageUrgentFrame(message=hello)]
        if not reconnected:  # a connection that is renewed is no new call
            reconnected = True
            if recording:
                recording.start()
            if session.agent.greeting:
                frames.append(TTSSpeakFrame(session.agent.greeting))
        await worker.queue_frames(frames)

    async def on_disconnected(_transport: BaseTransport, _client: Any) -> None:
        session.end("caller")
        if session.closing:
            session.closing.line_is_gone()
        await worker.cancel()

    async def on_error(_worker: PipelineWorker, error: ErrorFrame) -> None:
        if error.processor is transport.output() and not error.processor.is_usable:
            # Its peer has stopped reading, and nothing can be said to it any more.
            await on_disconnected(transport, None)
            return
        await worker.queue_frame(ServiceFailedFrame(error=error))

    worker.add_event_handler("on_pipeline_error", on_error)
    transport.add_event_handler("on_client_connected", on_connected)
    transport.add_event_handler("on_client_disconnected", on_disconnected)
