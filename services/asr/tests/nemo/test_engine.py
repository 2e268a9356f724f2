"""The engine's promises: constant cost, slots that come back, failures that stay alone, refusals in time."""

import asyncio
import gc
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ears import Ear, running, silence, whole
from prometheus_client import CollectorRegistry
from speech import Pcm, pcm

from antiphon_asr.backends import Mode
from antiphon_asr.backends.nemo.context import RATE_HZ
from antiphon_asr.backends.nemo.metrics import EngineMetrics
from antiphon_runtime.errors import BackendFailed, NoCapacity, Unavailable

# A sample that no audio of these tests has.
POISON = -32768


class Stepping:
    """The model, with something done before each step."""

    def __init__(self, model: Any, before: Callable[[list[Any]], None]) -> None:
        self._model = model
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def step(self, pool: Any, context: Any, rows: list[Any], **kind: Any) -> Any:
        self._before(rows)
        return self._model.step(pool, context, rows, **kind)


def poisoned(rows: list[Any]) -> None:
    if any((row.window == POISON).any() for row in rows):
        raise ValueError("poison")


async def test_a_poisoned_step_fails_its_stream_alone(model: Any) -> None:
    audios = [pcm(4, seed) for seed in range(6)]
    with running(Stepping(model, poisoned)) as engine:
        metrics = EngineMetrics.register(registry := CollectorRegistry(), engine.backlog_s)
        engine.attach(metrics, lambda: None)
        ears = [Ear(engine) for _ in audios]
        bad = audios[3].copy()
        bad[2 * RATE_HZ] = POISON

        async def transcribed(ear: Ear, audio: Pcm) -> str:
            await ear.hears(audio, seed=1)
            return (await ear.asked(Mode.COMMIT)).text

        hearing = (transcribed(ear, bad if index == 3 else audios[index]) for index, ear in enumerate(ears))
        texts = await asyncio.gather(*hearing, return_exceptions=True)
        with pytest.raises(BackendFailed, match="the model failed on this stream: ValueError"):
            await ears[3].asked(Mode.SPECULATE, 100)
        with pytest.raises(BackendFailed):
            await ears[3].decoder.push(silence(0.1).tobytes())
        assert engine.free_slots == 16 - 5
        for ear in ears:
            await ear.close()
        assert engine.free_slots == 16
    assert isinstance(texts.pop(3), BackendFailed)
    assert texts == [whole(model, ears[0].context, audio) for index, audio in enumerate(audios) if index != 3]
    assert registry.get_sample_value("antiphon_asr_failed_streams_total") == 1


async def test_when_the_device_is_lost_every_stream_fails_and_the_process_is_told(model: Any) -> None:
    class Lost(Stepping):
        def is_lost(self, error: Exception) -> bool:
            return isinstance(error, ValueError)

    told = asyncio.Event()
    with running(Lost(model, poisoned)) as engine:
        engine.attach(EngineMetrics.register(CollectorRegistry(), engine.backlog_s), told.set)
        one, two = Ear(engine), Ear(engine)
        asked = [asyncio.create_task(ear.asked(Mode.COMMIT, 0)) for ear in (one, two)]
        await one.decoder.push(np.full(RATE_HZ, POISON, np.int16).tobytes())
        async with asyncio.timeout(10):
            await told.wait()
            outcomes = await asyncio.gather(*asked, two.asked(Mode.COMMIT, 0), return_exceptions=True)
        assert any(isinstance(outcome, BackendFailed) for outcome in outcomes)
        with pytest.raises(BackendFailed):
            await two.decoder.push(silence(0.1).tobytes())
        with pytest.raises(Unavailable):
            Ear(engine)
        for ear in (one, two):
            await ear.close()


async def test_who_comes_when_all_slots_are_taken_is_refused(model: Any) -> None:
    with running(model, slots=2) as engine:
        ears = [Ear(engine), Ear(engine)]
        with pytest.raises(NoCapacity) as refused:
            Ear(engine)
        assert refused.value.reason == "NO_SLOT"
        await ears[0].close()
        await Ear(engine).close()
        await ears[1].close()
        assert engine.free_slots == 2


async def test_new_streams_are_refused_while_audio_waits_too_long(model: Any) -> None:
    held, clock, began = threading.Event(), SimpleNamespace(now_s=100.0), threading.Event()

    def hold(_: list[Any]) -> None:
        began.set()
        assert held.wait(10)

    with running(Stepping(model, hold), clock=lambda: clock.now_s, gather_s=0.0, most_wait_s=0.1) as engine:
        one, two = Ear(engine), Ear(engine)
        await one.decoder.push(silence(0.2).tobytes())
        await asyncio.to_thread(began.wait, 10)
        await two.decoder.push(silence(0.2).tobytes())
        clock.now_s += 0.09
        three = Ear(engine)
        clock.now_s += 0.02
        with pytest.raises(NoCapacity, match="audio waits for 110 ms") as refused:
            Ear(engine)
        assert refused.value.reason == "BACKLOG"
        held.set()
        await two.asked(Mode.COMMIT, 3200)
        await Ear(engine).close()
        for ear in (one, two, three):
            await ear.close()


async def test_audio_is_not_taken_faster_than_it_is_decoded(model: Any) -> None:
    held = threading.Event()
    with running(Stepping(model, lambda _: held.wait(10)), most_backlog_s=2.0) as engine:
        ear = Ear(engine)
        for _ in range(2):
            await ear.decoder.push(silence(1).tobytes())
        waiting = asyncio.create_task(ear.decoder.push(silence(1).tobytes()))
        await asyncio.sleep(0)
        assert not waiting.done()
        held.set()
        await waiting
        await ear.close()


async def test_an_hour_of_audio_grows_nothing(model: Any) -> None:
    def size(ear: Ear) -> int:
        """Bytes and objects that the stream holds: everything that can be reached from it but the engine and model."""
        seen, found = {id(engine), id(engine.model), id(engine._pool), id(ear.context)}, [ear.decoder]
        total = 0
        while found:
            item = found.pop()
            if id(item) in seen or isinstance(item, type | asyncio.AbstractEventLoop | asyncio.Task):
                continue
            seen.add(id(item))
            total += item.nbytes if isinstance(item, np.ndarray | torch.Tensor) else 1
            if not callable(item) or getattr(item, "__self__", None) is ear.decoder:
                found += gc.get_referents(item)
        return total

    minute = pcm(60, 5)
    with running(model) as engine:
        ear, sizes, held = Ear(engine, 1120), [], engine._pool.nbytes
        for _ in range(60):
            await ear.hears(minute)
            assert (await ear.asked(Mode.COMMIT)).text
            sizes.append(size(ear))
        assert ear.pushed == 3600 * RATE_HZ
        assert engine._pool.nbytes == held
        await ear.close()
    assert max(sizes[1:]) <= 1.02 * sizes[0]


async def test_audio_that_comes_during_a_step_is_not_taken_before_there_is_enough(model: Any) -> None:
    held, began, audio = threading.Event(), threading.Event(), pcm(3, 7)

    def hold(_: list[Any]) -> None:
        began.set()
        held.wait(10)

    with running(Stepping(model, hold)) as engine:
        ear = Ear(engine)
        await ear.hears(audio[: ear.context.samples_after(1)])
        await asyncio.to_thread(began.wait, 10)
        await ear.hears(audio[ear.pushed : ear.pushed + 100])
        held.set()
        await ear.asked(Mode.SPECULATE)
        await ear.hears(audio[ear.pushed :])
        assert (await ear.asked(Mode.COMMIT)).text == whole(model, ear.context, audio)
        await ear.close()


async def test_a_stream_that_ends_while_it_is_decoded_frees_its_slot_at_once(model: Any) -> None:
    held, began = threading.Event(), threading.Event()

    def hold(_: list[Any]) -> None:
        began.set()
        held.wait(10)

    audio = pcm(3, 6)
    with running(Stepping(model, hold), slots=1) as engine:
        first = Ear(engine)
        await first.decoder.push(audio[:RATE_HZ].tobytes())
        await asyncio.to_thread(began.wait, 10)
        await first.close()
        second = Ear(engine)
        held.set()
        await second.hears(audio)
        assert (await second.asked(Mode.COMMIT)).text == whole(model, second.context, audio)
        await second.close()


async def test_finalizes_go_before_live_steps(model: Any) -> None:
    held, kinds = threading.Event(), []

    def note(rows: list[Any]) -> None:
        kinds.append("flush" if rows[0].slot >= 4 else "live")
        held.wait(10)

    with running(Stepping(model, note), slots=4) as engine:
        ears = [Ear(engine) for _ in range(4)]
        await ears[0].decoder.push(silence(0.3).tobytes())
        asked = ears[0].decoder.read(4800, Mode.COMMIT)
        for ear in ears[1:]:
            await ear.decoder.push(silence(1.0).tobytes())
        held.set()
        await asked()
        before = kinds[: len(kinds) - kinds[::-1].index("flush")]
        for ear in ears:
            await ear.close()
    # The step that had begun, and those of its own stream.
    assert before.count("live") <= 2


async def test_under_load_a_finalize_waits_for_less_than_two_steps_of_others(model: Any) -> None:
    """Sixteen streams that always have chunks: live steps without the asker, between a question and its copy's last."""
    asker_slot, others, at_last_flush = -1, 0, 0

    def count(rows: list[Any]) -> None:
        nonlocal others, at_last_flush
        if rows[0].slot >= 16:
            at_last_flush = others
        elif asker_slot not in {row.slot for row in rows}:
            others += 1

    rng, waited = random.Random(1), []
    with running(Stepping(model, count)) as engine:
        ears, audio = [Ear(engine) for _ in range(16)], pcm(20, 8)
        for turn in range(60):
            for ear in ears:
                await ear.hears(audio[turn * 2560 : (turn + 1) * 2560])
            asker = rng.choice(ears)
            asker_slot, asked_at = asker.decoder._stream.slot, others
            await asker.asked(Mode.COMMIT)
            waited.append(at_last_flush - asked_at)
        assert engine.work()["live"].runs > 60
        for ear in ears:
            await ear.close()
    assert sorted(waited)[int(0.95 * len(waited))] < 2, waited
