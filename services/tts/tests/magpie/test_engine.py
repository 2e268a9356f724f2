"""The engine's promises: cancels that stop at once, slots that come back, failures that stay alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry
from speaking import TEXTS, prompt, settings

from antiphon_runtime.errors import BackendFailed, ServiceError, Unavailable
from antiphon_tts.backends import Mode
from antiphon_tts.backends.magpie.engine import Engine
from antiphon_tts.backends.magpie.loading import make_model, make_vocoder
from antiphon_tts.backends.magpie.metrics import EngineMetrics
from antiphon_tts.backends.magpie.request import Sound
from antiphon_tts.backends.magpie.schedule import Limits


class Ear:
    """Hears one generation."""

    def __init__(self) -> None:
        self.sounds: list[Sound] = []
        self.events: asyncio.Queue[Sound | ServiceError] = asyncio.Queue()

    def on_sound(self, sound: Sound) -> None:
        self.sounds.append(sound)
        self.events.put_nowait(sound)

    def on_failure(self, error: ServiceError) -> None:
        self.events.put_nowait(error)

    async def all(self) -> Any:
        """The samples. Raises what the generation failed with."""
        while True:
            event = await self.events.get()
            if isinstance(event, ServiceError):
                raise event
            if event.last:
                return np.concatenate([sound.samples for sound in self.sounds])


class Watched:
    """The model, with something done before each step; counts the steps of each slot."""

    def __init__(self, model: Any, before: Callable[[Any], None] = lambda slots: None) -> None:
        self._model = model
        self._before = before
        self.steps: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prefill(self, slots: Any, prompts: Any) -> Any:
        self._before(slots)
        self.steps.update(dict.fromkeys(slots, 0))
        return self._model.prefill(slots, prompts)

    def step(self, slots: Any, positions: int, tokens: int) -> Any:
        self._before(slots)
        for slot in slots:
            self.steps[slot] += 1
        return self._model.step(slots, positions, tokens)


@asynccontextmanager
async def running(
    magpie: Any, slots: int = 4, before: Callable[[Any], None] = lambda slots: None, **limits: Any
) -> AsyncIterator[Engine]:
    own = settings(Path("tiny.nemo"))
    model = make_model(magpie, own, slots)
    engine = Engine(Watched(model, before), make_vocoder(magpie, model, own), Limits(**limits))
    engine.start(lambda model, vocoder: None)
    try:
        yield engine
    finally:
        engine.close()


async def test_what_the_engine_says_is_what_one_says_alone(magpie: Any) -> None:
    asked = [prompt(magpie, text, seed=number, frames=12 + 3 * number) for number, text in enumerate(TEXTS)]
    modes = [Mode.BATCH, Mode.STREAM, Mode.HYBRID]
    async with running(magpie, slots=4) as engine:
        ears = [Ear() for _ in asked]
        for number, (each, ear) in enumerate(zip(asked, ears, strict=True)):
            engine.ask(each, modes[number % 3], 0.0, ear)
            await asyncio.sleep(0.01)
        together = [await ear.all() for ear in ears]
        assert engine.free_slots == 4
        for each, heard in zip(asked, together, strict=True):
            engine.ask(each, Mode.BATCH, 0.0, alone := Ear())
            assert np.abs(heard - await alone.all()).max() <= 1e-5
            assert len(heard) == each.frames * 1024


async def test_no_more_than_one_step_runs_after_a_cancel(magpie: Any) -> None:
    async with running(magpie, slots=2) as engine:
        engine.attach(EngineMetrics.register(registry := CollectorRegistry()), lambda: None)
        rng = random.Random(3)
        for _ in range(20):
            request = engine.ask(prompt(magpie, TEXTS[2], frames=400), Mode.STREAM, 0.0, ear := Ear())
            for _ in range(rng.randint(1, 4)):
                await ear.events.get()
            await asyncio.sleep(rng.random() / 50)
            slot = request.slot
            engine.release(request)
            begun = engine.model.steps[slot]
            assert slot in engine._free
            # Whatever still ran for it has run once another has been spoken.
            engine.ask(prompt(magpie, "yes", frames=6), Mode.BATCH, 0.0, other := Ear())
            await other.all()
            # The reading, which made the first frame, is no step of these.
            assert request.steps - 1 <= begun + 1
    assert registry.get_sample_value("antiphon_tts_wasted_frames_total") > 0


async def test_slots_are_free_after_five_hundred_cancels_at_any_moment(magpie: Any) -> None:
    rng = random.Random(4)
    async with running(magpie, slots=4) as engine:
        open_requests: list[Any] = []
        for _ in range(500):
            text = rng.choice(TEXTS)
            asked = prompt(magpie, text, seed=rng.randrange(99), frames=rng.randint(4, 60))
            open_requests.append(engine.ask(asked, rng.choice(list(Mode)), 0.0, Ear()))
            await asyncio.sleep(rng.random() / 200)
            while len(open_requests) > rng.randint(0, 6):
                engine.release(open_requests.pop(rng.randrange(len(open_requests))))
        for request in open_requests:
            engine.release(request)
        assert engine.free_slots == 4 and not engine._waiting and not engine._live
        engine.ask(asked := prompt(magpie, TEXTS[0]), Mode.HYBRID, 0.0, ear := Ear())
        assert len(await ear.all()) == asked.frames * 1024


async def test_a_release_after_the_end_is_nothing(magpie: Any) -> None:
    async with running(magpie, slots=1) as engine:
        request = engine.ask(prompt(magpie, "yes", frames=5), Mode.BATCH, 0.0, ear := Ear())
        await ear.all()
        engine.release(request)
        engine.release(request)
        assert engine._free == [0]


async def test_more_than_there_are_slots_wait_their_turn(magpie: Any) -> None:
    async with running(magpie, slots=2, prefill=1) as engine:
        ears = [Ear() for _ in range(5)]
        for ear in ears:
            engine.ask(prompt(magpie, "yes", frames=8), Mode.STREAM, 0.0, ear)
        said = [await ear.all() for ear in ears]
    assert all(np.abs(each - said[0]).max() <= 1e-5 for each in said)


async def test_a_step_that_fails_for_one_fails_that_one_alone(magpie: Any) -> None:
    bad: set[int] = set()
    calls = count()

    def poisoned(slots: Any) -> None:
        if next(calls) > 5 and bad & set(slots):
            raise ValueError("poison")

    async with running(magpie, slots=4, before=poisoned) as engine:
        engine.attach(EngineMetrics.register(registry := CollectorRegistry()), lambda: None)
        ears = [Ear() for _ in range(3)]
        asked = [prompt(magpie, text, frames=20) for text in TEXTS[:3]]
        requests = [engine.ask(each, Mode.STREAM, 0.0, ear) for each, ear in zip(asked, ears, strict=True)]
        await ears[1].events.get()
        bad.add(requests[1].slot)
        results = await asyncio.gather(*(ear.all() for ear in ears), return_exceptions=True)
        bad.clear()
        assert isinstance(results[1], BackendFailed) and "ValueError" in str(results[1])
        for number in (0, 2):
            engine.ask(asked[number], Mode.BATCH, 0.0, alone := Ear())
            assert np.abs(results[number] - await alone.all()).max() <= 1e-5
        assert engine.free_slots == 4
    assert registry.get_sample_value("antiphon_tts_failed_segments_total") == 1


async def test_when_the_device_is_lost_everybody_is_told(magpie: Any) -> None:
    calls = count()

    def lost(slots: Any) -> None:
        if next(calls) == 4:
            raise torch.AcceleratorError("gone")

    told = asyncio.Event()
    async with running(magpie, slots=2, before=lost) as engine:
        engine.attach(EngineMetrics.register(CollectorRegistry()), told.set)
        ears = [Ear() for _ in range(3)]
        for ear in ears:
            engine.ask(prompt(magpie, TEXTS[0], frames=50), Mode.BATCH, 0.0, ear)
        for ear in ears:
            with pytest.raises(Unavailable):
                await ear.all()
        await asyncio.wait_for(told.wait(), 5)
        with pytest.raises(Unavailable):
            engine.ask(prompt(magpie, "yes"), Mode.BATCH, 0.0, Ear())


async def test_hybrid_windows_grow_and_later_segments_come_whole(magpie: Any) -> None:
    async with running(magpie, slots=1) as engine:
        engine.ask(prompt(magpie, TEXTS[2], frames=120), Mode.HYBRID, 0.0, ear := Ear())
        await ear.all()
        sizes = [len(sound.samples) // 1024 for sound in ear.sounds]
        # By how much they grow depends on how fast the machine is.
        assert sizes[0] == 2 and max(sizes) > sizes[0] and sum(sizes) == 120
        now = asyncio.get_running_loop().time()
        engine.ask(prompt(magpie, TEXTS[2], frames=60), Mode.HYBRID, now + 600, later := Ear())
        await later.all()
        assert len(later.sounds) == 1


async def test_the_first_sound_of_a_long_text_takes_the_steps_of_a_short_one(magpie: Any) -> None:
    """Time to first audio does not depend on the length: neither do the steps until then, which a clock cannot blur."""
    steps: dict[int, list[int]] = {5: [], 25: []}
    for words, mode in ((5, Mode.HYBRID), (5, Mode.BATCH), (25, Mode.HYBRID), (25, Mode.BATCH)):
        # A new engine each time: one that has measured itself on a busy machine begins with larger windows.
        async with running(magpie, slots=1) as engine:
            text = " ".join(["hello"] * words)
            engine.ask(prompt(magpie, text, frames=words * 4), mode, 0.0, ear := Ear())
            await ear.all()
            steps[words].append(len(ear.sounds[0].attended))
    assert steps == {5: [2, 20], 25: [2, 100]}
