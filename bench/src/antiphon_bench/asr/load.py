"""Many callers at once: how soon a recognizer finishes their utterances, in real time or as fast as it takes them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc

from antiphon.asr.v1 import asr_pb2
from antiphon_runtime.client import Replicas, Stream

from ..errors import StreamRefused
from ..machine import load_average
from ..stats import Latencies, summarise
from .stream import BYTES_PER_SAMPLE, RATE_HZ, StreamConfig, commit, opened

# A real caller's frames are 20 ms; twice that halves what the load itself costs the machine.
PACKET_S = 0.040
PACKET_SAMPLES = round(PACKET_S * RATE_HZ)
# How long utterances are.
UTTERANCE_S = (1.5, 4.0)
# A finalize that is not answered so long after the last audio counts as lost.
PATIENCE_S = 5.0
BATCH_COMMIT_SAMPLES = round(2.8 * RATE_HZ)

_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


@dataclass(frozen=True, slots=True)
class Level:
    """What so many callers at once met with. A finalize without an answer has no time, and ranks above all others."""

    streams: int
    refused: int
    lost: int
    seconds: float
    final_ms: tuple[float | None, ...]
    late_ms: float
    load_average: float | None

    @property
    def final(self) -> Latencies:
        return summarise(self.final_ms)

    def holds(self, limit_ms: float) -> bool:
        """Whether every caller was taken and answered, 99 of 100 finalizes within `limit_ms`."""
        p99_ms = self.final.p99_ms
        return not self.refused and not self.lost and p99_ms is not None and p99_ms <= limit_ms


@dataclass(slots=True)
class _Caller:
    """One stream's finalizes: when each was asked for, and how long each took."""

    asked_s: dict[int, float] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)
    late_s: float = 0.0
    refused: bool = False
    lost: bool = False
    all_answered: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, id: int, at_s: float) -> None:
        self.took_s.append(at_s - self.asked_s.pop(id))
        if not self.asked_s:
            self.all_answered.set()


async def in_real_time(
    replicas: Replicas, voices: Sequence[bytes], config: StreamConfig, *, streams: int, seconds: float, seed: int = 0
) -> Level:
    """`streams` callers speak for `seconds`, without a pause, and commit utterances of UTTERANCE_S.

    `voices` are what they say, over and over: mono s16le at 16 kHz. They begin at random moments of a second.
    """
    rng = random.Random(seed)
    callers = [_Caller() for _ in range(streams)]
    async with asyncio.TaskGroup() as tasks:
        for index, caller in enumerate(callers):
            own = random.Random(rng.random())
            voice = voices[index % len(voices)]
            tasks.create_task(_speak(replicas, caller, voice, config, seconds, own), name=f"caller {index}")
    return Level(
        streams=streams,
        refused=sum(caller.refused for caller in callers),
        lost=sum(caller.lost for caller in callers),
        seconds=seconds,
        final_ms=tuple(
            took
            for caller in callers
            for took in (*(taken * 1000 for taken in caller.took_s), *(None for _ in caller.asked_s))
        ),
        late_ms=1000 * max(caller.late_s for caller in callers),
        load_average=load_average(),
    )


async def as_fast_as_possible(
    replicas: Replicas, voices: Sequence[bytes], config: StreamConfig, *, streams: int, seconds: float
) -> float:
    """Seconds of audio transcribed a second, when `streams` callers send `seconds` of it each as fast as they can.

    They commit every 2.8 s, as callers in real time do on average. Raises StreamRefused when not all are taken.
    """

    async def send(stream: Stream, voice: bytes) -> None:
        wanted = int(seconds * RATE_HZ) * BYTES_PER_SAMPLE
        audio = (voice * (wanted // len(voice) + 1))[:wanted]
        await _in_pieces(stream, audio, 0, BATCH_COMMIT_SAMPLES)

    async with AsyncExitStack() as opening:
        open_streams = [await opening.enter_async_context(await opened(replicas, config)) for _ in range(streams)]
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for index, stream in enumerate(open_streams):
                tasks.create_task(send(stream, voices[index % len(voices)]))
        return streams * seconds / (time.monotonic() - began_s)


async def _in_pieces(stream: Stream, audio: bytes, before: int, commit_samples: int) -> None:
    """Sends audio that follows `before` samples, with a commit after each `commit_samples` of it and at its end."""
    size, piece = PACKET_SAMPLES * BYTES_PER_SAMPLE * 5, commit_samples * BYTES_PER_SAMPLE
    for start in range(0, len(audio), piece):
        end = min(start + piece, len(audio))
        for at in range(start, end, size):
            await stream.write(asr_pb2.TranscribeRequest(audio=audio[at : min(at + size, end)]))
        sample = before + end // BYTES_PER_SAMPLE
        await stream.write(commit(sample, sample))
        async for event in stream:
            if event.WhichOneof("event") == "finalized":
                break


async def _speak(
    replicas: Replicas, caller: _Caller, voice: bytes, config: StreamConfig, seconds: float, rng: random.Random
) -> None:
    await asyncio.sleep(rng.random())
    try:
        stream = await opened(replicas, config)
    except StreamRefused:
        caller.refused = True
        return
    async with stream, _read(stream, caller):
        with suppress(*_OVER):
            await _send(stream, caller, voice, seconds, rng)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await caller.all_answered.wait()


async def _send(stream: Stream, caller: _Caller, voice: bytes, seconds: float, rng: random.Random) -> None:
    """Each packet when it is over, as a microphone does; at the end of an utterance the request for its text."""
    start_s, packets = time.monotonic(), int(seconds / PACKET_S)
    size, utterance_end = PACKET_SAMPLES * BYTES_PER_SAMPLE, round(rng.uniform(*UTTERANCE_S) / PACKET_S)
    for number in range(1, packets + 1):
        due_s = start_s + number * PACKET_S
        await asyncio.sleep(due_s - time.monotonic())
        caller.late_s = max(caller.late_s, time.monotonic() - due_s)
        at = (number - 1) * size % (len(voice) - size)
        await stream.write(asr_pb2.TranscribeRequest(audio=voice[at : at + size]))
        if number in (utterance_end, packets):
            utterance_end = number + round(rng.uniform(*UTTERANCE_S) / PACKET_S)
            caller.all_answered.clear()
            # From when it was due: what the load or the server held up counts.
            caller.asked_s[number] = due_s
            await stream.write(commit(number, number * PACKET_SAMPLES))


@asynccontextmanager
async def _read(stream: Stream, caller: _Caller) -> AsyncIterator[None]:
    """Takes the stream's answers while the context lasts."""

    async def read() -> None:
        try:
            async for event in stream:
                if event.WhichOneof("event") == "finalized":
                    caller.answered(event.finalized.id, time.monotonic())
            caller.lost = True  # no server of ours ends a stream that goes on
        except grpc.aio.AioRpcError:
            caller.lost = True
        caller.all_answered.set()

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        try:
            yield
        finally:
            reading.cancel()


async def minute_by_minute(
    replicas: Replicas, minute: bytes, config: StreamConfig, *, count: int, done: Callable[[int], Awaitable[None]]
) -> None:
    """One stream that says `minute` so often, as fast as it is taken; calls `done` when each has been transcribed."""
    samples = len(minute) // BYTES_PER_SAMPLE
    async with await opened(replicas, config) as stream:
        for number in range(count):
            await _in_pieces(stream, minute, number * samples, samples)
            await done(number + 1)
