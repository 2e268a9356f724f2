"""The baseline is worth comparing with: it hears what it should, and the engine does far more in the same time."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import pytest
from ears import Ear, running, whole
from speech import Pcm, pcm
from steps import context_of

from antiphon_asr.backends import Mode, StreamConfig
from antiphon_asr.backends.nemo.context import RATE_HZ
from antiphon_asr.backends.nemo.one_at_a_time import OneAtATime
from antiphon_runtime.settings import ServerSettings

AT_ONCE = 16
SECONDS = 8


@pytest.fixture
def baseline(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneAtATime]:
    monkeypatch.setenv("ANTIPHON_ASR_NEMO__MODEL", str(tiny))
    made = OneAtATime.load(ServerSettings(bind="127.0.0.1:0"))
    yield made
    made.close()


async def through(decoder: Any, audio: Pcm) -> str:
    for start in range(0, len(audio), 1600):
        await decoder.push(audio[start : start + 1600].tobytes())
    return (await decoder.read(len(audio), Mode.COMMIT)()).text


async def test_with_nemos_first_chunk_it_hears_what_the_whole_audio_says(model: Any, baseline: OneAtATime) -> None:
    context, config = context_of(model, 160), StreamConfig(RATE_HZ, "tiny", "en-US", False)
    baseline._stepper.first_chunk = context.first_mel
    wanted = [whole(model, context, pcm(6, seed)) for seed in range(6)]
    heard = [await through(baseline.decoder(config), pcm(6, seed)) for seed in range(6)]
    # The last mel frame of each chunk is of a window that is cut off, which may tip one token of many.
    assert jiwer.cer(wanted, heard) < 0.15


async def test_sixteen_streams_cost_a_fraction_of_the_seeds_way(model: Any, baseline: OneAtATime) -> None:
    audios = [pcm(SECONDS, seed) for seed in range(AT_ONCE)]
    config = StreamConfig(RATE_HZ, "tiny", "en-US", False)

    async def seeds_way() -> float:
        began_s = time.perf_counter()
        await asyncio.gather(*(through(baseline.decoder(config), audio) for audio in audios))
        return time.perf_counter() - began_s

    async def ours() -> float:
        ears = [Ear(engine, interim_results=False) for _ in audios]
        began_s = time.perf_counter()
        await asyncio.gather(*(through(ear.decoder, audio) for ear, audio in zip(ears, audios, strict=True)))
        elapsed_s = time.perf_counter() - began_s
        for ear in ears:
            await ear.close()
        return elapsed_s

    with running(model) as engine:
        await ours()
        # In turn, so that another process disturbs both alike.
        times = [(await seeds_way(), await ours()) for _ in range(2)]
    ratio = sum(theirs for theirs, _ in times) / sum(own for _, own in times)
    assert ratio >= 2.5, times
