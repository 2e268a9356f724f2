"""One speaker: audio in, edges and verdicts out, each in its place."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .backends import Ear, Question
from .edges import Edges, Paused, Rules, Started
from .metrics import TurnMetrics
from .recent import BYTES_PER_SAMPLE, Recent

# What Smart Turn hears (pipecat/audio/turn/smart_turn/local_smart_turn_v3.py); nothing older is kept for any backend.
JUDGED_S = 8
# A caller that does not read its events is not listened to beyond this many of them.
MAX_UNREAD = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the speaker sounded finished, `silence_ms` after the pause at `sample` began."""

    sample: int
    silence_ms: int
    probability: float
    complete: bool
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True)
class _Due:
    pause: int
    silence_ms: int
    pcm: bytes
    asked_s: float


Event = Started | Paused | Verdict


class Session:
    """Give it audio with `push`, run `judge` beside that, and read `next_event` until it gives None.

    Its events depend on the samples alone, not on how they are cut into messages; only whether a verdict is still
    ready before speech goes on depends on time.
    """

    def __init__(self, ear: Ear, rules: Rules, rate_hz: int, silences_ms: Sequence[int], metrics: TurnMetrics) -> None:
        self._ear = ear
        self._rules = rules
        self._rate_hz = rate_hz
        self._silences_ms = silences_ms
        self._metrics = metrics
        self._edges = Edges(rules, [ms * rate_hz // 1000 for ms in silences_ms])
        # A verdict waits while voiced frames may become speech, so its audio may have to be a little older.
        waits = max(rules.start_frames, rules.resume_frames) + 1
        self._recent = Recent(JUDGED_S * rate_hz + waits * rules.frame_samples)
        self._turn_start = 0
        self._pause: int | None = None
        self._judging: asyncio.Task[None] | None = None
        # Never full: it holds one pause's verdicts, and the end.
        self._dues: asyncio.Queue[_Due | None] = asyncio.Queue(len(silences_ms) + 1)
        # Full: `push` and `judge` wait for the reader.
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(MAX_UNREAD)
        self.agent_speaking = False

    async def push(self, pcm: bytes) -> None:
        """Hears the next samples."""
        arrived_s, frame, view = time.monotonic(), self._rules.frame_samples, memoryview(pcm)
        while view:
            room = (frame - self._recent.end % frame) * BYTES_PER_SAMPLE
            self._recent.write(view[:room])
            view = view[room:]
            if self._recent.end % frame:
                self._ask(self._recent.end, arrived_s)
            else:
                self._ask(self._recent.end - 1, arrived_s)  # what a smaller message would have asked for already
                await self._hear(self._recent.between(self._recent.end - frame, self._recent.end))
                self._ask(self._recent.end, arrived_s)
        self._metrics.hearing_seconds.observe(time.monotonic() - arrived_s)

    def begin_turn(self) -> None:
        """What was heard so far counts towards no verdict that is not due yet, and this pause gets no more of them."""
        self._turn_start = self._recent.end
        self._edges.settle()

    def finish(self) -> None:
        """No more audio comes: after the verdicts that are due, the events end."""
        self._dues.put_nowait(None)

    async def judge(self) -> None:
        """Answers the verdicts that are due, one at a time, until `finish`."""
        async with asyncio.TaskGroup() as tasks:
            while (due := await self._dues.get()) is not None:
                self._judging = tasks.create_task(self._verdict(due), name="verdict")
                await asyncio.wait([self._judging])
        await self._events.put(None)

    async def next_event(self) -> Event | None:
        """The next event, None after the last. A verdict on a pause that speech has ended is left out."""
        while isinstance(event := await self._events.get(), Verdict) and event.sample != self._pause:
            self._overtaken()
        return event

    async def _hear(self, frame: bytes) -> None:
        edge = self._edges.hear(await self._ear.voice(frame))
        if edge is None:
            return
        if isinstance(edge, Paused):
            self._pause = edge.sample
        else:
            self._pause = None
            self._drop_verdicts()
        await self._events.put(edge)

    def _drop_verdicts(self) -> None:
        while not self._dues.empty():
            self._dues.get_nowait()
            self._overtaken()
        if self._judging and self._judging.cancel():
            self._overtaken()

    def _ask(self, heard: int, asked_s: float) -> None:
        for index in self._edges.due(heard):
            if self._pause is not None:
                silence_ms = self._silences_ms[index]
                end = self._pause + silence_ms * self._rate_hz // 1000
                pcm = self._recent.between(max(self._turn_start, end - JUDGED_S * self._rate_hz), end)
                self._dues.put_nowait(_Due(self._pause, silence_ms, pcm, asked_s))

    async def _verdict(self, due: _Due) -> None:
        judged = await self._ear.judge(Question(due.pcm, due.silence_ms))
        verdict = Verdict(
            due.pause,
            due.silence_ms,
            judged.probability,
            judged.probability >= self._rules.complete_at,
            queue_ms=(judged.began_s - due.asked_s) * 1000,
            compute_ms=(time.monotonic() - judged.began_s) * 1000,
        )
        await self._events.put(verdict)

    def _overtaken(self) -> None:
        self._metrics.verdicts.labels("overtaken").inc()
