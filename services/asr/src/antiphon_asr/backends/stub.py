"""A recognizer that needs no model: each utterance that is not silent has the script's next text."""

import asyncio
import random
import time
from array import array
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Self

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.latency import Latency, profile
from antiphon_runtime.server import Host
from antiphon_runtime.settings import ServerSettings, read_settings

from . import LOOKBACK_S, Heard, Mode, Pending, Reading, StreamConfig, Work

# Louder than this, of 32767, is not silence: -42 dBFS.
LOUD = 256
FRAME_MS = 10
DEFAULT_SLOTS = 8
FRAMES_PER_WORD = 200 // FRAME_MS

# From the finalize request to its text: min/p50/p90/max of the seed's session table for the RTX 5090 and the DGX Spark;
# for H100 the 24 ms median of NVIDIA's scaling post, and the blueprint's 67 ms at 64 streams as the most.
PROFILES = {
    "rtx5090": Latency(((0.0, 13.0), (0.5, 19.0), (0.9, 23.0), (1.0, 70.0))),
    "dgx-spark": Latency(((0.0, 24.0), (0.5, 27.0), (0.9, 69.0), (1.0, 122.0))),
    "h100": Latency(((0.0, 24.0), (0.5, 24.0), (1.0, 67.0))),
}


class StubSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_ASR_STUB__", frozen=True)

    script: Annotated[str, Field(description='What is heard, utterance by utterance, separated by "|". Repeats.')] = (
        "Hello there.|What can you do for me?|Tell me a short story, please.|Thank you, goodbye."
    )
    profile: Annotated[str, Field(description="Latency before each finalized: zero, rtx5090, dgx-spark, h100.")] = (
        "zero"
    )
    seed: Annotated[int, Field(description="Every stream draws the same latencies from it.")] = 0


class StubRecognizer:
    models = ("stub",)
    languages = ("en-US", "en")
    rates_hz = (16_000, 8_000, 24_000, 48_000)
    contexts_ms = ()
    word_times = False
    word_confidence = False
    default_slots = DEFAULT_SLOTS

    def __init__(self, script: tuple[str, ...], latency: Latency, seed: int) -> None:
        self._script = script
        self._latency = latency
        self._seed = seed

    @classmethod
    def load(cls, settings: ServerSettings) -> Self:
        """Raises ConfigError when the script is empty or there is no such profile."""
        own = read_settings(StubSettings)
        script = tuple(text.strip() for text in own.script.split("|") if text.strip())
        if not script:
            raise ConfigError("ANTIPHON_ASR_STUB__SCRIPT has no utterance")
        return cls(script, profile(own.profile, PROFILES), own.seed)

    def attach(self, host: Host) -> None:
        pass

    def decoder(self, config: StreamConfig) -> "StubDecoder":
        return StubDecoder(config, self._script, self._latency, random.Random(self._seed))

    def work(self) -> Mapping[str, Work]:
        return {}

    def close(self) -> None:
        pass


class StubDecoder:
    def __init__(self, config: StreamConfig, script: tuple[str, ...], latency: Latency, rng: random.Random) -> None:
        self._config = config
        self._script = script
        self._latency = latency
        self._rng = rng
        self._ear = Ear(config.rate_hz)
        self._count = 0
        self._revealed = 0
        self._grew = asyncio.Event()
        # The newest read: up to which sample, and when its text is known.
        self._known: tuple[int, float] = (-1, 0.0)

    async def push(self, pcm: bytes) -> None:
        self._ear.push(pcm)
        self._grew.set()

    def read(self, end_sample: int, mode: Mode) -> Pending:
        text = self._text if self._ear.loud_before(end_sample) else ""
        if mode is Mode.COMMIT:
            self._ear.cut(end_sample)
            self._count += bool(text)
            self._revealed = 0
            self._grew.set()
        if self._known[0] != end_sample:  # as with a real recognizer, what has been read is not read again
            self._known = end_sample, time.monotonic() + self._latency.draw(self._rng)
        known_s = self._known[1]

        async def answer() -> Reading:
            began_s = time.monotonic()
            await asyncio.sleep(max(0.0, known_s - began_s))
            return Reading(text, began_s=began_s)

        return answer

    async def interims(self) -> AsyncIterator[Heard]:
        while True:
            await self._grew.wait()
            self._grew.clear()
            words = self._text.split()
            known = min(self._ear.loud_frames // FRAMES_PER_WORD, len(words))
            if self._config.interim_results and known > self._revealed:
                self._revealed = known
                yield Heard(" ".join(words[:known]), self._ear.heard)

    def close(self) -> None:
        pass

    @property
    def _text(self) -> str:
        return self._script[self._count % len(self._script)]


class Ear:
    """Which parts of the current utterance are loud: exact to the sample over the last LOOKBACK_S and a little more."""

    def __init__(self, rate_hz: int) -> None:
        self._frame = rate_hz * FRAME_MS // 1000
        self._frames: deque[tuple[array[int], bool]] = deque()
        self._most_frames = (LOOKBACK_S + 1) * 1000 // FRAME_MS
        self._partial: array[int] = array("h")
        self._first = 0
        self._start = 0
        self._was_loud = False
        self.loud_frames = 0

    @property
    def heard(self) -> int:
        """Samples pushed in all."""
        return (self._first + len(self._frames)) * self._frame + len(self._partial)

    def push(self, pcm: bytes) -> None:
        self._partial.frombytes(pcm)
        whole = len(self._partial) // self._frame * self._frame
        for at in range(0, whole, self._frame):
            samples = self._partial[at : at + self._frame]
            frame_start = (self._first + len(self._frames)) * self._frame
            loud = _loud(samples[max(0, self._start - frame_start) :])
            self._frames.append((samples, _loud(samples)))
            self.loud_frames += loud
            if len(self._frames) > self._most_frames:
                self._forget()
        del self._partial[:whole]

    def loud_before(self, end: int) -> bool:
        """Whether any sample of the utterance before `end` is loud."""
        return self._was_loud or self._loud_between(self._start, end) > 0

    def cut(self, end: int) -> None:
        """The utterance starts at `end`."""
        self._start, self._was_loud = end, False
        self.loud_frames = self._loud_between(end, (self._first + len(self._frames)) * self._frame)

    def _forget(self) -> None:
        _, loud = self._frames.popleft()
        self._was_loud |= loud and self._first * self._frame >= self._start
        self._first += 1

    def _loud_between(self, start: int, end: int) -> int:
        loud_frames = 0
        for index in range(max(0, start // self._frame - self._first), len(self._frames) + 1):
            at = (self._first + index) * self._frame
            if at >= end:
                break
            samples, loud = self._frames[index] if index < len(self._frames) else (self._partial, True)
            if loud and _loud(samples[max(0, start - at) : end - at]):
                loud_frames += 1
        return loud_frames


def _loud(samples: "array[int]") -> bool:
    return len(samples) > 0 and (max(samples) > LOUD or min(samples) < -LOUD)
