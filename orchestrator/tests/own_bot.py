"""A bot of one's own around the processors that a test is about, and the services it talks to."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

import antiphon_asr.service
import antiphon_asr.settings
import antiphon_llm.service
import antiphon_llm.settings
import antiphon_tts.service
import antiphon_tts.settings
import antiphon_turn.service
import antiphon_turn.settings
from antiphon_orchestrator.backends import METHODS
from antiphon_runtime.client import DialPolicy, Replicas
from antiphon_runtime.testing import Served, serving

RATE = 16_000
TICK_MS = 20
SERVICES: dict[str, tuple[Any, Any]] = {
    "asr": (antiphon_asr.service, antiphon_asr.settings.Settings),
    "tts": (antiphon_tts.service, antiphon_tts.settings.Settings),
    "llm": (antiphon_llm.service, antiphon_llm.settings.Settings),
    "turn": (antiphon_turn.service, antiphon_turn.settings.Settings),
}
# Says so at once when nobody is there.
IMPATIENT = DialPolicy(ready_s=1.0, total_s=0.3, backoff_s=0.05)
# Where nobody listens: a port that the system gives to no one.
NOWHERE = "127.0.0.1:1"

F = TypeVar("F", bound=Frame)


@asynccontextmanager
async def stub(name: str, **settings: Any) -> AsyncIterator[Served]:
    """A service on its stub backend."""
    module, cls = SERVICES[name]
    own = cls(**{"bind": "127.0.0.1:0", "grace_s": 0.0, "backend": "stub", **settings})
    async with serving(module.SERVICE, module.build(own), own) as served:
        yield served


@asynccontextmanager
async def dialled(name: str, *targets: str, policy: DialPolicy | None = None) -> AsyncIterator[Replicas]:
    replicas = Replicas(targets, METHODS[name], policy=policy)
    try:
        yield replicas
    finally:
        await replicas.close()


async def settles(condition: Callable[[], Any]) -> None:
    """Returns as soon as `condition` holds of something that announces no change. Fails after a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Seen(FrameProcessor):
    """Passes frames on, and remembers those that went its way."""

    def __init__(self, way: FrameDirection) -> None:
        super().__init__(enable_direct_mode=True)
        self._way = way
        self._more = asyncio.Condition()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is self._way:
            async with self._more:
                self.frames.append(frame)
                self._more.notify_all()
        await self.push_frame(frame, direction)

    def of(self, kind: type[F]) -> list[F]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    async def until(self, kind: type[F], count: int = 1) -> F:
        """The `count`th frame of a kind. Fails when it has not come after a minute."""
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


@dataclass
class Bot:
    """A running pipeline: what came out at its end, and what at its beginning."""

    worker: PipelineWorker
    pipeline: Pipeline
    down: Seen
    up: Seen
    running: "asyncio.Task[None]"

    async def send(self, *frames: Frame) -> None:
        await self.worker.queue_frames(list(frames))

    async def send_up(self, frame: Frame) -> None:
        """From the end of the pipeline towards its beginning."""
        await self.worker.queue_frame(frame, FrameDirection.UPSTREAM)

    async def hear(self, pcm: bytes, tick_ms: int = TICK_MS) -> None:
        """Caller's audio, as fast as it is taken."""
        size = RATE * tick_ms // 1000 * 2
        await self.send(*(audio(pcm[at : at + size]) for at in range(0, len(pcm), size)))


@asynccontextmanager
async def bot(
    *processors: FrameProcessor, observers: Sequence[BaseObserver] = (), resources: Any = None
) -> AsyncIterator[Bot]:
    """Runs the processors as a pipeline while the context lasts."""
    up, down = Seen(FrameDirection.UPSTREAM), Seen(FrameDirection.DOWNSTREAM)
    pipeline = Pipeline([up, *processors, down])
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(
            audio_in_sample_rate=RATE,
            audio_out_sample_rate=24_000,
            enable_metrics=True,
            send_initial_empty_metrics=False,
        ),
        observers=list(observers),
        app_resources=resources,
        enable_rtvi=False,
        idle_timeout_secs=None,
    )
    started = asyncio.Event()

    async def on_started(*_: Any) -> None:
        started.set()

    worker.add_event_handler("on_pipeline_started", on_started)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run(), name="bot")
    async with asyncio.timeout(60):
        await started.wait()
    try:
        yield Bot(worker, pipeline, down, up, running)
    finally:
        await worker.cancel()
        await running


def audio(pcm: bytes) -> InputAudioRawFrame:
    return InputAudioRawFrame(audio=pcm, sample_rate=RATE, num_channels=1)


def silence(ms: int) -> bytes:
    return bytes(RATE * ms // 1000 * 2)


def tone(ms: int, level: int = 8000) -> bytes:
    """A square wave, loud from its first sample to its last: what the stubs take for speech."""
    return array("h", [level if i // 20 % 2 else -level for i in range(RATE * ms // 1000)]).tobytes()
