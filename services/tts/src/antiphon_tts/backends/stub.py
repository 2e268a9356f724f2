"""A voice of pure tones, one a word, exact to the sample.

A word of n letters and digits is 60 + 50 n milliseconds of sine, 8000 high, from phase 0, at 150 Hz plus the word's
CRC-32 modulo 200; there is nothing between words. Word is what `cleaning` leaves of a written word, lower-cased.
"""

import asyncio
import random
import time
import zlib
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.errors import InvalidInput
from antiphon_runtime.latency import Latency, profile
from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings

from ..cleaning import Line
from ..settings import Settings
from . import DEFAULT_SLOTS, Mode, Said, Sampling, Speech, Voice

AMPLITUDE = 8000
# Time to first audio. rtx5090 and dgx-spark: min, p50, p90 and max of Magpie's pipeline mode in the README of
# pipecat-ai/nemotron-january-2026. h100: the 66 to 110 ms of NVIDIA's voice agent blueprint, 4 to 64 streams a GPU
# (docs/04-evaluation-and-performance.md), taken as straight between them.
PROFILES = {
    "rtx5090": Latency(((0.0, 99.0), (0.5, 101.0), (0.9, 103.0), (1.0, 103.0))),
    "dgx-spark": Latency(((0.0, 15.0), (0.5, 186.0), (0.9, 231.0), (1.0, 276.0))),
    "h100": Latency(((0.0, 66.0), (1.0, 110.0))),
}


class StubSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_TTS_STUB__", frozen=True)

    profile: Annotated[str, Field(description="Latency before a segment's audio: zero, rtx5090, dgx-spark, h100.")] = (
        "zero"
    )
    seed: Annotated[int, Field(description="Of the latencies.")] = 0


def word_ms(word: str) -> int:
    """How long the stub says a word."""
    return 60 + 50 * sum(map(str.isalnum, word))


def word_hz(word: str) -> int:
    """How high the stub says a word."""
    return 150 + zlib.crc32(word.lower().encode()) % 200


def tone(word: str, rate_hz: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """The word's samples."""
    phase = np.arange(rate_hz * word_ms(word) // 1000) * (2 * np.pi * word_hz(word) / rate_hz)
    samples: np.ndarray[tuple[int], np.dtype[np.int16]] = np.rint(AMPLITUDE * np.sin(phase)).astype("<i2")
    return samples


class StubSynthesizer:
    """Speaks in tones, after a latency of the named profile. Never fails."""

    model = "stub"
    voices: Mapping[str, tuple[str, ...]] = MappingProxyType({"tone": ("en-US",)})
    modes = (Mode.STREAM, Mode.BATCH)
    rate_hz = 24000
    default_slots = DEFAULT_SLOTS

    def __init__(self, latency: Latency, seed: int) -> None:
        self._latency = latency
        self._random = random.Random(seed)

    @classmethod
    def load(cls, settings: Settings) -> "StubSynthesizer":
        own = read_settings(StubSettings)
        return cls(profile(own.profile, PROFILES), own.seed)

    def attach(self, host: Host) -> None:
        """Counts nothing."""

    def sampling(self, asked: Sampling) -> Sampling:
        if asked != Sampling():
            raise InvalidInput("config.sampling: model stub draws nothing at random", reason="UNSUPPORTED_SAMPLING")
        return asked

    async def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        began = time.monotonic()
        if latency := self._latency.draw(self._random):
            await asyncio.sleep(latency)
        tokens, said, tones, at = line.tokens, [], [], 0
        for word in line.words:
            tones.append(tone("".join(tokens[word.tokens.start : word.tokens.stop]), voice.rate_hz))
            said.append(Said(word.text, at, at + len(tones[-1])))
            at += len(tones[-1])
        yield Speech(np.concatenate(tones).tobytes(), tuple(said), began)

    def close(self) -> None:
        """Holds nothing."""
