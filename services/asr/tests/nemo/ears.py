"""An engine over the tiny model, and listeners on it without the wire."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from speech import Pcm, offline, packets
from steps import REWIND, context_of

from antiphon_asr.backends import Heard, Mode, Reading, StreamConfig
from antiphon_asr.backends.nemo.context import RATE_HZ, Context
from antiphon_asr.backends.nemo.decoder import NemoDecoder
from antiphon_asr.backends.nemo.engine import Engine, Limits
from antiphon_asr.backends.nemo.pool import Pool


@contextmanager
def running(model: Any, slots: int = 16, clock: Any = None, **limits: Any) -> Iterator[Engine]:
    """An engine with `slots` slots, until the context ends."""
    settings = Limits(**{"flushes": 8, "max_batch": 16, "gather_s": 0.002, "most_wait_s": 60.0, **limits})
    pool = Pool(model.shape, slots + settings.flushes, REWIND, torch.device("cpu"), torch.float32)
    engine = Engine(model, pool, settings, **({"clock": clock} if clock else {}))
    engine.start(lambda model, pool: None)
    try:
        yield engine
    finally:
        engine.close()


class Ear:
    """A listener: what it was told, and the interims that came by themselves."""

    def __init__(self, engine: Engine, ms: int = 160, **config: Any) -> None:
        self.context = context_of(engine.model, ms)
        fields = {"interim_results": True, "context_ms": ms, **config}
        self.decoder = NemoDecoder(engine, engine.model, self.context, StreamConfig(RATE_HZ, "tiny", "en-US", **fields))
        self.pushed = 0
        self.interims: list[Heard] = []
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for heard in self.decoder.interims():
            self.interims.append(heard)

    async def hears(self, audio: Pcm, seed: int | None = None) -> None:
        """All of it: in packets of random sizes, or in seconds."""
        longest = RATE_HZ if seed is None else 4000
        for packet in packets(audio, seed or 0, longest):
            await self.decoder.push(packet)
            self.pushed += len(packet) // 2
            await asyncio.sleep(0)

    async def asked(self, mode: Mode, end: int | None = None) -> Reading:
        return await self.decoder.read(self.pushed if end is None else end, mode)()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.decoder.close()


def whole(model: Any, context: Context, audio: Pcm, end: int | None = None) -> str:
    """What the model hears before the sample `end` when it gets all of that at once."""
    end = len(audio) if end is None else end
    tokens = offline(model, context, audio[:end], context.steps_to_flush(end))[1]
    return str(model.text([token for token, _ in tokens]))


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * RATE_HZ), np.int16)
