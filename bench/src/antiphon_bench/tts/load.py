"""Sentences sent to `antiphon.tts.v1.TtsService/Synthesize` by many callers at once: what each heard, and when."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc

from ..machine import load_average
from ..rpc import events
from ..stats import ranked_at

BYTES_PER_SAMPLE = 2
MODES = {
    "batch": tts_pb2.SYNTHESIS_MODE_BATCH,
    "stream": tts_pb2.SYNTHESIS_MODE_STREAM,
    "hybrid": tts_pb2.SYNTHESIS_MODE_HYBRID,
}


@dataclass(frozen=True, slots=True)
class Heard:
    """One sentence: from its text being sent to its first audio and to its end, and how long the audio is.

    A listener who plays from the first audio on ran dry `dry` times, for `dry_ms` in all. `ttfb_ms` is None when no
    audio came; `error` says why.
    """

    words: int
    ttfb_ms: float | None
    total_ms: float
    audio_ms: float
    dry: int
    dry_ms: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds over all sentences; those without audio rank above every other, and have no place in the mean."""

    count: int
    missing: int
    min: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None
    mean: float | None


def spread(values: Sequence[float | None]) -> Spread:
    found = [value for value in values if value is not None]
    least, p50, p90, p95, p99, most = (ranked_at(values, share) for share in (0.0, 0.5, 0.9, 0.95, 0.99, 1.0))
    mean = sum(found) / len(found) if found else None
    return Spread(len(values), len(values) - len(found), least, p50, p90, p95, p99, most, mean)


@dataclass(frozen=True, slots=True)
class Level:
    """What one side did with so many callers at once, or with so many a second (`rate`)."""

    side: str
    mode: str
    callers: int
    rate: float
    heard: tuple[Heard, ...]
    wall_s: float
    load: float | None

    @property
    def ttfb(self) -> Spread:
        return spread([each.ttfb_ms for each in self.heard])

    @property
    def audio_rate(self) -> float:
        """Seconds of audio a second, over all callers."""
        return sum(each.audio_ms for each in self.heard) / 1000 / self.wall_s

    @property
    def dry(self) -> int:
        return sum(each.dry for each in self.heard)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ttfb_ms": asdict(self.ttfb), "audio_seconds_a_second": self.audio_rate, "dry": self.dry}


def sentences() -> list[str]:
    """The published list: 50 sentences of 1 to 35 words."""
    return Path(__file__).with_name("sentences.txt").read_text().splitlines()


def underruns(arrivals: Sequence[tuple[float, float]]) -> tuple[int, float]:
    """How often, and for how many seconds in all, a listener ran dry who played from the first audio on.

    `arrivals` are the second at which each piece came, and how many seconds of audio it is.
    """
    count, silent, until = 0, 0.0, None
    for at, seconds in arrivals:
        if until is not None and at > until:
            count, silent = count + 1, silent + at - until
        until = max(at, until or at) + seconds
    return count, silent


async def speak(target: str, sentence: str, mode: str) -> Heard:
    """One sentence on a connection of its own, as a caller of its own has it."""
    async with grpc.aio.insecure_channel(target) as channel:
        await channel.channel_ready()
        call: Any = tts_pb2_grpc.TtsServiceStub(channel).Synthesize()
        audio = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE)
        config = tts_pb2.SynthesizeConfig(audio=audio, mode=MODES[mode])
        words, arrivals, sent = len(sentence.split()), [], time.monotonic()
        try:
            await call.write(tts_pb2.SynthesizeRequest(config=config))
            ready = await call.read()
            rate_hz = ready.ready.config.audio.sample_rate_hz
            sent = time.monotonic()
            await call.write(tts_pb2.SynthesizeRequest(text=sentence))
            await call.done_writing()
            async for event in events(call):
                if event.WhichOneof("event") == "audio":
                    arrivals.append((time.monotonic(), len(event.audio.pcm) / BYTES_PER_SAMPLE / rate_hz))
        except grpc.aio.AioRpcError as error:
            return Heard(
                words, None, (time.monotonic() - sent) * 1000, 0.0, 0, 0.0, f"{error.code()}: {error.details()}"
            )
    count, silent = underruns(arrivals)
    ttfb = (arrivals[0][0] - sent) * 1000 if arrivals else None
    audio_ms = sum(seconds for _, seconds in arrivals) * 1000
    return Heard(words, ttfb, (time.monotonic() - sent) * 1000, audio_ms, count, silent * 1000)


async def at_once(side: str, target: str, texts: Sequence[str], mode: str, callers: int) -> Level:
    """So many callers, each with a sentence after the other until all have been spoken."""
    todo = iter(texts)
    heard: list[Heard] = []

    async def caller(own: Iterator[str]) -> None:
        for text in own:
            heard.append(await speak(target, text, mode))

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(caller(todo))
    return Level(side, mode, callers, 0.0, tuple(heard), time.monotonic() - began, load_average())


async def arriving(side: str, target: str, texts: Sequence[str], mode: str, rate: float, *, seed: int = 0) -> Level:
    """Callers who come independently of each other, `rate` a second on average."""
    rng = random.Random(seed)
    began = at = time.monotonic()
    calls: list[asyncio.Task[Heard]] = []
    async with asyncio.TaskGroup() as tasks:
        for text in texts:
            at += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            calls.append(tasks.create_task(speak(target, text, mode)))
    heard = tuple(call.result() for call in calls)
    return Level(side, mode, 0, rate, heard, time.monotonic() - began, load_average())
