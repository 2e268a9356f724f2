"""One reply: text becomes segments, segments become audio, and audio becomes events, each in a task of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from antiphon_runtime.errors import InvalidInput
from antiphon_runtime.pcm import BYTES_PER_SAMPLE

from .backends import Mode, Speech, Synthesizer, Voice
from .cleaning import Line, clean
from .metrics import TtsMetrics
from .segments import Segmenter
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Timed:
    """Where the time of a segment went until its first audio, in milliseconds."""

    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of the reply's audio; `offset` is the number of samples before it."""

    sequence: int
    offset: int
    pcm: bytes
    timed: Timed | None


@dataclass(frozen=True, slots=True)
class Spoken:
    """Written words, and when they are heard, in milliseconds from the reply's first sample."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A segment that has nothing to be said."""

    text: str


@dataclass(frozen=True, slots=True)
class Flushed:
    mark: int


Event = Audio | Spoken | Skipped | Flushed


@dataclass(frozen=True, slots=True)
class _Segment:
    """Text, and when it was whole: on the machine's clock, and on its listener's."""

    text: str
    whole_at: float
    whole_for_listener_at: float


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A stretch of a segment; `first`: the segment begins with it."""

    speech: Speech
    timed: Timed | None
    first: bool


class Clock:
    """Time as listeners have it; a test has its own."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Reply:
    """Takes text and flushes, makes events. `speak` and `events` run beside the caller, who ends with `finish`.

    The text not yet spoken is bounded by `max_pending_chars`; finished audio by one segment waiting and one being
    sent; audio ahead of its listener, who is taken to play it as it comes, by `ahead_s` and one segment.
    """

    def __init__(
        self, synthesizer: Synthesizer, voice: Voice, settings: Settings, metrics: TtsMetrics, clock: Clock
    ) -> None:
        self._synthesizer = synthesizer
        self._voice = voice
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._segmenter = Segmenter(settings.limits, whole=voice.mode is Mode.BATCH)
        self._pending = 0
        self._todo: asyncio.Queue[_Segment | Flushed | None] = asyncio.Queue()  # bounded by _pending
        self._done: asyncio.Queue[_Spoken | Skipped | Flushed | None] = asyncio.Queue(maxsize=1)
        self._plays_until = 0.0

    def text(self, text: str) -> None:
        """The next piece of the reply. Raises InvalidInput when too much is pending."""
        self._count(len(text))
        self._queue(self._segmenter.feed(text))

    def flush(self, mark: int) -> None:
        """Speak what is held back, then say `Flushed`."""
        self._count(1)
        self._queue(self._segmenter.flush())
        self._todo.put_nowait(Flushed(mark))

    def finish(self) -> None:
        """No more text comes: speak what is held back, then end."""
        self._queue(self._segmenter.flush())
        self._todo.put_nowait(None)

    def _count(self, more: int) -> None:
        self._pending += more
        if self._pending > self._settings.max_pending_chars:
            raise InvalidInput(
                f"more than {self._settings.max_pending_chars} characters wait to be spoken", reason="TEXT_TOO_LONG"
            )

    def _queue(self, segments: list[str]) -> None:
        now, for_listener = time.monotonic(), self._clock.now()
        for text in segments:
            self._todo.put_nowait(_Segment(text, now, for_listener))

    async def speak(self) -> None:
        """Has the segments spoken, one after the other, until the end."""
        while (item := await self._todo.get()) is not None:
            if isinstance(item, Flushed):
                self._pending -= 1
                await self._done.put(item)
            else:
                await self._speak(item)
                self._pending -= len(item.text)
        await self._done.put(None)

    async def _speak(self, segment: _Segment) -> None:
        line = clean(segment.text)
        said = bool(line.words) and await self._say(line, segment)
        if said:
            self._metrics.segments.inc()
        elif segment.text.strip():
            self._metrics.skipped.inc()
            await self._done.put(Skipped(segment.text))

    async def _say(self, line: Line, segment: _Segment) -> bool:
        """Whether the segment had any sound."""
        if (early := self._plays_until - self._clock.now() - self._settings.ahead_s) > 0:
            await self._clock.sleep(early)
        first, timed = True, None
        async with aclosing(self._synthesizer.speak(line, self._voice, self._plays_until)) as speeches:
            async for speech in speeches:
                if not (speech.pcm or speech.said):
                    continue
                item = _Spoken(speech, None if timed or not speech.pcm else self._timed(segment, speech), first)
                first, timed = False, timed or item.timed
                self._plays(segment, len(speech.pcm) / BYTES_PER_SAMPLE / self._voice.rate_hz)
                await self._done.put(item)
        return timed is not None

    def _plays(self, segment: _Segment, seconds: float) -> None:
        """More audio is there for a listener who plays it as it comes."""
        now = self._clock.now()
        # Text that came after the listener had run out was late itself.
        if 0 < self._plays_until < now and segment.whole_for_listener_at <= self._plays_until:
            self._metrics.underruns.inc()
            self._metrics.underrun_seconds.inc(now - self._plays_until)
        self._plays_until = max(self._plays_until, now) + seconds
        self._metrics.audio.inc(seconds)

    def _timed(self, segment: _Segment, speech: Speech) -> Timed:
        now = time.monotonic()
        self._metrics.queue.observe(speech.began - segment.whole_at)
        self._metrics.compute.observe(now - speech.began)
        if not self._plays_until:
            self._metrics.first_audio.observe(now - segment.whole_at)
        return Timed((speech.began - segment.whole_at) * 1000, (now - speech.began) * 1000)

    async def events(self) -> AsyncIterator[Event]:
        """What the caller is sent, in order, until the end. A word comes before the audio of the stretch it ends in."""
        rate = self._voice.rate_hz
        step = max(1, rate * self._settings.event_ms // 1000) * BYTES_PER_SAMPLE
        sequence = offset = begun = 0
        while (item := await self._done.get()) is not None:
            if isinstance(item, Flushed | Skipped):
                yield item
                continue
            begun = offset if item.first else begun
            for said in item.speech.said:
                yield Spoken(said.text, (begun + said.start) * 1000 // rate, (begun + said.end) * 1000 // rate)
            for start in range(0, len(item.speech.pcm), step):
                pcm = item.speech.pcm[start : start + step]
                yield Audio(sequence, offset, pcm, item.timed if start == 0 else None)
                sequence += 1
                offset += len(pcm) // BYTES_PER_SAMPLE
