"""One stream: its audio, the utterance's settled pieces, and the jobs that read it.

Moonshine hears whole clips, so a long utterance is cut at its quietest points into pieces that are decoded once and
kept as text; only what comes after them is decoded again at each pause.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from antiphon_runtime.errors import BackendFailed

from .. import LOOKBACK_S, Heard, Mode, Pending, Reading
from ..tape import Tape
from .model import RATE_HZ, Moonshine, Samples
from .speech import FRAME, Frame, Listener, has_speech, quietest
from .worker import Decoded, Job, Rank, Worker

# An open stretch this long gets a piece cut off it, at the quietest point between the two. A clip of 12 s takes a
# quarter of a second to decode, and a speaker makes a gap within any four seconds.
OPEN_S = 12
CUT_S = (6, 10)
# Enough to cut a piece again at an end that far back.
KEEP = (LOOKBACK_S + OPEN_S) * RATE_HZ
# Pieces in the worker's queue before the stream's audio has to wait.
MAX_UNREAD_PIECES = 3
# An unvoiced onset, such as the s of "six", comes before the first voiced frame; a voice's decay after the last active.
PREROLL = RATE_HZ * 300 // 1000
TAIL = RATE_HZ * 200 // 1000
INTERIM_FRAMES = 400 * RATE_HZ // 1000 // FRAME
CACHED_READINGS = 8


@dataclass(frozen=True, slots=True)
class Clip:
    """Speech to decode. Two clips with one key differ only in the silence at their ends."""

    key: tuple[int, int]
    samples: Samples


@dataclass(slots=True)
class Piece:
    """A settled stretch of the utterance. No job: there is no speech in it."""

    start: int
    end: int
    job: Job | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an interim shows: the pieces settled by then, and the open clip, whose region ends at `end`."""

    utterance: int
    pieces: tuple[Job, ...]
    clip: Clip
    end: int


class MoonshineDecoder:
    def __init__(self, model: Moonshine, worker: Worker, *, interims: bool) -> None:
        self._model = model
        self._worker = worker
        self._wants_interims = interims
        self._tape = Tape(KEEP)
        self._listener = Listener(KEEP)
        self._utterance = 0
        self._start = 0
        self._pieces: list[Piece] = []
        self._readings: OrderedDict[tuple[int, int], Job] = OrderedDict()
        self._latest: Snapshot | None = None
        self._due = asyncio.Event()
        self._active_frames = 0

    async def push(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, "<i2")
        self._tape.push(samples)
        frames = self._listener.push(samples)
        self._settle()
        if self._wants_interims:
            self._watch(frames)
        unread = [piece.job for piece in self._pieces if piece.job and not piece.job.result.done()]
        if len(unread) > MAX_UNREAD_PIECES:
            await _decoded(unread[0])

    def read(self, end_sample: int, mode: Mode) -> Pending:
        rank = Rank.COMMIT if mode is Mode.COMMIT else Rank.SPECULATE
        jobs = self._settled(end_sample)
        if clip := self._clip(self._open_start(end_sample), end_sample):
            jobs.append(self._reading(clip, rank))
        for job in jobs:
            self._worker.hurry(job, rank)
        if mode is Mode.COMMIT:
            self._cut(end_sample)

        async def answer() -> Reading:
            awaited = [job for job in jobs if not job.result.done()]
            texts = await asyncio.gather(*map(_decoded, jobs))
            began_s = [text.began_s for job, text in zip(jobs, texts, strict=True) if job in awaited]
            return Reading(_joined(texts), began_s=min(began_s, default=None))

        return answer

    async def interims(self) -> AsyncIterator[Heard]:
        shown = (self._utterance, "")
        while True:
            await self._due.wait()
            self._due.clear()
            run = _NewestSnapshot(self._model, lambda: self._latest)
            last = await asyncio.wrap_future(self._worker.submit(Rank.INTERIM, run).result)
            taken = run.taken
            if last is None or taken is None or taken.utterance != self._utterance:
                continue
            # The pieces outrank the interim, so they are done before it begins.
            text = _joined([*(job.result.result() for job in taken.pieces), last])
            if text and (taken.utterance, text) != shown:
                shown = (taken.utterance, text)
                yield Heard(text, taken.end)

    def close(self) -> None:
        for job in [*(piece.job for piece in self._pieces if piece.job), *self._readings.values()]:
            job.result.cancel()

    def _settle(self) -> None:
        while self._tape.end - (start := self._open_start(self._tape.end)) >= OPEN_S * RATE_HZ:
            first, frames = self._listener.between(start + CUT_S[0] * RATE_HZ, start + CUT_S[1] * RATE_HZ)
            cut = first + quietest(frames) * FRAME
            clip = self._clip(start, cut)
            if clip is None and self._pieces and self._pieces[-1].job is None:
                self._pieces[-1].end = cut
            else:
                job = self._worker.submit(Rank.SETTLE, self._run(clip)) if clip else None
                self._pieces.append(Piece(start, cut, job))

    def _watch(self, frames: Sequence[Frame]) -> None:
        self._active_frames += sum(frame.active for frame in frames)
        # Not in a gap: that is when a finalize is to be expected.
        if self._active_frames < INTERIM_FRAMES or not frames or not frames[-1].active:
            return
        self._active_frames = 0
        end = self._tape.end
        if clip := self._clip(self._open_start(end), end):
            self._latest = Snapshot(self._utterance, tuple(self._settled(end)), clip, end)
            self._due.set()

    def _cut(self, end: int) -> None:
        for piece in self._pieces:
            # A piece that a finalize waits for has been hurried.
            if piece.job and piece.job.rank is Rank.SETTLE:
                piece.job.result.cancel()
        self._utterance += 1
        self._start = end
        self._pieces = []
        self._readings.clear()
        self._latest = None
        self._due.clear()
        _, frames = self._listener.between(end, self._tape.end)
        self._active_frames = sum(frame.active for frame in frames)

    def _settled(self, end: int) -> list[Job]:
        return [piece.job for piece in self._pieces if piece.job and piece.end <= end]

    def _open_start(self, end: int) -> int:
        """Where the part before `end` begins that no settled piece covers."""
        return max((piece.end for piece in self._pieces if piece.end <= end), default=self._start)

    def _clip(self, start: int, end: int) -> Clip | None:
        """The speech between two samples, None when there is none."""
        first, frames = self._listener.between(start, end)
        if not has_speech(frames):
            return None
        voiced = next(index for index, frame in enumerate(frames) if frame.voiced)
        active = max(index for index, frame in enumerate(frames) if frame.active)
        # What is less than a frame has not been measured: it goes with the frame before it.
        speech_end = end if active == len(frames) - 1 else first + (active + 1) * FRAME
        clip_start = max(start, self._tape.start, first + voiced * FRAME - PREROLL)
        return Clip((start, speech_end), self._tape.clip(clip_start, min(end, speech_end + TAIL)))

    def _reading(self, clip: Clip, rank: Rank) -> Job:
        job = self._readings.get(clip.key)
        if job is None:
            job = self._readings[clip.key] = self._worker.submit(rank, self._run(clip))
            if len(self._readings) > CACHED_READINGS:
                self._readings.popitem(last=False)
        return job

    def _run(self, clip: Clip) -> Callable[[Callable[[], bool]], str | None]:
        return lambda _: self._model.text(clip.samples)


class _NewestSnapshot:
    """An interim's run: decodes the newest snapshot there is when its turn comes, so that none queues up."""

    def __init__(self, model: Moonshine, newest: Callable[[], Snapshot | None]) -> None:
        self._model = model
        self._newest = newest
        self.taken: Snapshot | None = None

    def __call__(self, gives_up: Callable[[], bool]) -> str | None:
        self.taken = self._newest()
        return self._model.text(self.taken.clip.samples, gives_up) if self.taken else None


async def _decoded(job: Job) -> Decoded:
    decoded = await asyncio.wrap_future(job.result)
    if decoded is None:
        raise BackendFailed("a clip was given up that somebody waits for")
    return decoded


def _joined(texts: Sequence[Decoded | None]) -> str:
    return " ".join(text.text for text in texts if text and text.text)
