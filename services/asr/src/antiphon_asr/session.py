"""One stream: samples counted, finalizes kept until their audio is here, events queued for the reader."""

import asyncio
import time
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry import propagate, trace

from antiphon_runtime.errors import InvalidInput
from antiphon_runtime.pcm import BYTES_PER_SAMPLE

from .backends import LOOKBACK_S, Decoder, Finalize, Finalized, Heard, Mode, Pending
from .metrics import AsrMetrics
from .outbox import Outbox

# How far ahead of the audio a finalize may end: longer than any network's hiccup, shorter than a mistake in units.
AHEAD_S = 10
# Finalizes whose answers have not been read. A caller asks a few per second at most.
MAX_OPEN = 64
# Ids that are checked for repetition: an hour of a caller who pauses every second.
REMEMBERED_IDS = 4096


class Session:
    """A listener's stream. Iterate it for events; it ends after `finish`, when every finalize is answered."""

    def __init__(self, decoder: Decoder, rate_hz: int, tasks: asyncio.TaskGroup, metrics: AsrMetrics) -> None:
        self._decoder = decoder
        self._rate_hz = rate_hz
        self._tasks = tasks
        self._metrics = metrics
        self._heard = 0
        self._arrivals: deque[tuple[int, float]] = deque()
        self._committed = 0
        self._ids: OrderedDict[int, None] = OrderedDict()
        self._waiting: list[Finalize] = []
        self._running = 0
        self._running_commits = 0
        self._unread = 0
        self._held: Heard | None = None
        self._finished = False
        self._outbox = Outbox()
        self._tracer = trace.get_tracer("antiphon.asr")

    async def push(self, pcm: bytes) -> None:
        """Takes the stream's next samples. Waits while the model is too far behind."""
        while self._waiting and self._waiting[0].end_sample * BYTES_PER_SAMPLE <= self._heard_bytes + len(pcm):
            request = self._waiting.pop(0)
            size = request.end_sample * BYTES_PER_SAMPLE - self._heard_bytes
            await self._take(pcm[:size])
            pcm = pcm[size:]
            self._start(request, request.end_sample)
        await self._take(pcm)

    def finalize(self, request: Finalize) -> None:
        """Has `request` answered once its audio is here. Raises InvalidInput when it cannot be."""
        self._check(request)
        self._ids[request.id] = None
        if len(self._ids) > REMEMBERED_IDS:
            self._ids.popitem(last=False)
        self._unread += 1
        if request.end_sample > self._heard:
            insort(self._waiting, request, key=lambda waiting: waiting.end_sample)
        else:
            self._start(request, request.end_sample or self._heard)

    def finish(self) -> None:
        """No more audio comes: what waited for it is answered with what there is."""
        for request in self._waiting:
            self._start(request, self._heard)
        self._waiting.clear()
        self._finished = True
        self._close_when_done()

    async def relay(self) -> None:
        """Passes interims on until cancelled."""
        async for heard in self._decoder.interims():
            # The reader gets an utterance's final text before anything of the next one.
            if self._running_commits:
                self._held = heard
            else:
                self._outbox.put(heard)

    async def __aiter__(self) -> AsyncIterator[Heard | Finalized]:
        while (event := await self._outbox.get()) is not None:
            if isinstance(event, Finalized):
                self._unread -= 1
            yield event

    @property
    def _heard_bytes(self) -> int:
        return self._heard * BYTES_PER_SAMPLE

    async def _take(self, pcm: bytes) -> None:
        if pcm:
            samples = len(pcm) // BYTES_PER_SAMPLE
            self._heard += samples
            self._arrived()
            self._metrics.audio_seconds.inc(samples / self._rate_hz)
            await self._decoder.push(pcm)

    def _arrived(self) -> None:
        """Remembers when the newest samples came, as far back as a finalize may end."""
        self._arrivals.append((self._heard, time.monotonic()))
        while self._arrivals[0][0] < self._heard - LOOKBACK_S * self._rate_hz:
            self._arrivals.popleft()

    def _arrival_s(self, end_sample: int) -> float | None:
        """When the sample before `end_sample` came, on the monotonic clock."""
        at = bisect_left(self._arrivals, end_sample, key=lambda arrival: arrival[0])
        return self._arrivals[at][1] if end_sample and at < len(self._arrivals) else None

    def _check(self, request: Finalize) -> None:
        end, name = request.end_sample, f"finalize {request.id}"
        if request.id in self._ids:
            raise InvalidInput(f"{name}: this id has been used before", reason="DUPLICATE_FINALIZE")
        if self._unread >= MAX_OPEN:
            raise InvalidInput(f"{name}: {MAX_OPEN} answers are open: read them", reason="TOO_MANY_FINALIZES")
        if end < 0 or 0 < end < self._committed:
            raise InvalidInput(
                f"{name}: end_sample {end} must be 0, or at least {self._committed}, where the last commit ended",
                reason="BAD_END_SAMPLE",
            )
        if end > (latest := self._heard + AHEAD_S * self._rate_hz):
            raise InvalidInput(f"{name}: end_sample {end} must be at most {latest} by now", reason="BAD_END_SAMPLE")
        if 0 < end < (earliest := self._heard - LOOKBACK_S * self._rate_hz):
            raise InvalidInput(f"{name}: end_sample {end} must be at least {earliest} by now", reason="BAD_END_SAMPLE")

    def _start(self, request: Finalize, end_sample: int) -> None:
        pending = self._decoder.read(end_sample, request.mode)
        self._running += 1
        if request.mode is Mode.COMMIT:
            self._committed = end_sample
            self._running_commits += 1
            self._held = None
        self._tasks.create_task(self._answer(request, end_sample, pending), name=f"finalize {request.id}")

    async def _answer(self, request: Finalize, end_sample: int, pending: Pending) -> None:
        asked_s = time.monotonic()
        parent = propagate.extract({"traceparent": request.traceparent}) if request.traceparent else None
        attributes = {"antiphon.asr.mode": request.mode.value, "antiphon.asr.end_sample": end_sample}
        with self._tracer.start_as_current_span("asr.finalize", context=parent, attributes=attributes):
            reading = await pending()
        done_s = time.monotonic()
        # Without a model's run there was nothing to wait for.
        began_s = None if reading.began_s is None else max(reading.began_s, asked_s)
        self._metrics.finalize_seconds.labels(request.mode.value).observe(done_s - asked_s)
        if (arrival_s := self._arrival_s(end_sample)) is not None:
            self._metrics.speech_end_seconds.labels(request.mode.value).observe(done_s - arrival_s)
        self._metrics.finalized.labels(request.mode.value, "text" if reading.text else "empty").inc()
        self._outbox.put(
            Finalized(
                id=request.id,
                mode=request.mode,
                text=reading.text,
                end_sample=end_sample,
                words=reading.words,
                queue_ms=0.0 if began_s is None else (began_s - asked_s) * 1000,
                compute_ms=0.0 if began_s is None else (done_s - began_s) * 1000,
            )
        )
        self._running -= 1
        if request.mode is Mode.COMMIT:
            self._running_commits -= 1
            self._release()
        self._close_when_done()

    def _release(self) -> None:
        if self._held and not self._running_commits:
            self._outbox.put(self._held)
            self._held = None

    def _close_when_done(self) -> None:
        if self._finished and not self._running:
            self._outbox.close()


@asynccontextmanager
async def opened(decoder: Decoder, rate_hz: int, metrics: AsrMetrics) -> AsyncIterator[Session]:
    """A session over `decoder`, whose work is dropped when the context ends."""
    try:
        async with asyncio.TaskGroup() as tasks:
            session = Session(decoder, rate_hz, tasks, metrics)
            relay = tasks.create_task(session.relay(), name="interims")
            try:
                yield session
            finally:
                relay.cancel()
    finally:
        decoder.close()
