"""The backend behind the wire: what callers do to it, and what it is told at the start."""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from asr_caller import COMMIT, RATE, SPECULATE, asr, audio, chunks, config, finalize, stream, stub
from ears import whole
from speech import pcm
from steps import context_of

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.testing import Served, collect

SLOTS = 200


@pytest.fixture
def checkpoint(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANTIPHON_ASR_NEMO__MODEL", str(tiny))
    # Refusals are not what these tests are about, and their machine may be busy.
    monkeypatch.setenv("ANTIPHON_ASR_NEMO__MOST_WAIT_MS", "60000")
    return tiny


@asynccontextmanager
async def nemo(**settings: Any) -> AsyncIterator[Served]:
    async with asr(backend="nemo", **{"slots": SLOTS, **settings}) as served:
        yield served


async def freed(served: Served) -> None:
    """Returns once no slot is held. Between two looks the server answers a question."""
    async with asyncio.timeout(30):
        while served.sample("antiphon_asr_slots_used"):
            await collect(stub(served).Transcribe(iter([config(model="none")])))


async def all_slots_can_be_had(served: Served) -> None:
    """Opens as many streams as there are slots: a slot that leaked anywhere would be missing."""
    calls = [stub(served).Transcribe() for _ in range(SLOTS)]
    for call in calls:
        await call.write(config())
        assert (await call.read()).WhichOneof("event") == "ready"
    for call in calls:
        call.cancel()
    await freed(served)


async def test_a_call_hears_what_the_whole_audio_says(checkpoint: Path, model: Any) -> None:
    speech = pcm(5, 30)
    async with nemo() as served:
        for ms in (80, 160, 560, 1120):
            async with stream(served, config(context_ms=ms, word_times=True, word_confidence=True)) as call:
                assert (call.ready.config.context_ms, call.ready.config.model) == (ms, "tiny")
                await call.send(*chunks(speech.tobytes(), 320))
                done = await call.ask(1, COMMIT)
            assert done.text == whole(model, context_of(model, ms), speech)
            assert " ".join(word.text for word in done.words) == done.text
            assert all(word.HasField("confidence") for word in done.words)
            assert done.timings.compute_ms > 0
        assert served.sample("antiphon_asr_step_seconds_count", context_ms="160", kind="live") > 20
        assert served.sample("antiphon_asr_batch_size_count", context_ms="1120", kind="flush") > 0
        assert served.sample("antiphon_asr_real_time_factor", device="cpu") > 0
        assert served.sample("antiphon_asr_decodes_total", kind="flush") >= 4


async def test_a_thousand_streams_that_hang_up_at_any_moment_leave_every_slot_free(checkpoint: Path) -> None:
    rng, noise = random.Random(1), pcm(20, 31).tobytes()

    async def caller(served: Served) -> None:
        call = stub(served).Transcribe()
        await call.write(config(context_ms=rng.choice([80, 160, 560, 1120]), interim_results=True))
        for id in range(rng.randrange(4)):
            start = 2 * rng.randrange(10 * RATE)
            await call.write(audio(noise[start : start + 2 * rng.randrange(RATE)]))
            if rng.random() < 0.5:
                await call.write(finalize(id, rng.choice([SPECULATE, COMMIT])))
        if rng.random() < 0.5:
            await call.read()
        await asyncio.sleep(rng.random() / 20)
        call.cancel()

    async with nemo() as served:
        for _ in range(25):
            await asyncio.gather(*(caller(served) for _ in range(40)))
        await freed(served)
        await all_slots_can_be_had(served)


async def test_clients_that_are_killed_leave_every_slot_free(checkpoint: Path) -> None:
    program, path = Path(__file__).with_name("killed_client.py"), Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(path)}

    async def killed(served: Served, streams: int) -> None:
        arguments = (str(program), str(served.port), str(streams))
        client = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=env, stdout=-1)
        try:
            assert client.stdout and (await client.stdout.readline()).strip() == b"ready"
            await asyncio.sleep(random.random() / 5)
        finally:
            client.kill()
            await client.wait()

    async with nemo() as served:
        for _ in range(5):
            await asyncio.gather(killed(served, SLOTS // 2), killed(served, SLOTS // 2))
            await freed(served)
        await all_slots_can_be_had(served)


async def test_two_engines_share_the_streams(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_NEMO__DEVICE", "cpu,cpu")
    async with nemo(slots=3) as served:
        assert served.sample("antiphon_asr_slots_total") == 3
        async with stream(served), stream(served), stream(served) as call:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async with stream(served):
                    pass
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await call.send(*chunks(pcm(2, 33).tobytes()))
            assert (await call.ask(1, COMMIT)).text


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("MODEL", "/nowhere/nothing.nemo", "/nowhere/nothing.nemo cannot be loaded"),
        ("DEVICE", "cuda:99", "cuda:99 is not there: torch sees"),
        ("DEVICE", "abacus", "'abacus' is no device"),
        ("CONTEXT_MS", "240", "240 is not one of this model's: 80, 160, 320, 560, 1120"),
        ("CUDA_GRAPHS", "true", "CUDA_GRAPHS needs a GPU"),
        ("DTYPE", "int8", "DTYPE"),
        ("MODLE", "x", "unknown setting ANTIPHON_ASR_NEMO__MODLE"),
    ],
)
async def test_what_is_configured_wrongly_is_said_at_start(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"ANTIPHON_ASR_NEMO__{setting}", value)
    with pytest.raises(ConfigError, match=words):
        async with nemo():
            pass


async def test_slots_that_do_not_fit_into_memory_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"100000000 slots of .* MB do not fit on cpu: "):
        async with nemo(slots=100_000_000):
            pass


async def test_slots_come_from_memory_when_nobody_says_how_many(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_NEMO__MOST_SLOTS", "77")
    async with nemo(slots=0) as served:
        assert served.sample("antiphon_asr_slots_total") == 77
