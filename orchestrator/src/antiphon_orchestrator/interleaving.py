"""Taking turns on one GPU: the model writes a stretch, the voice speaks it, the model writes the next.

On a GPU that both share, each slows the other down, and what the model writes far ahead of what is heard is wasted
when the caller interrupts. The stretches are the seed's: a short one, so that the voice begins soon, then whole
sentences. What belongs together is known by the segment's id, not by counting what comes back.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipecat.frames.frames import DataFrame

from antiphon.llm.v1 import llm_pb2
from antiphon_runtime.phases import Phases


@dataclass
class SegmentFrame(DataFrame):
    """All text of this segment has come before.

    Parameters:
        segment_id: As in the grant that paid for it.
    """

    segment_id: int = 0


@dataclass(frozen=True, slots=True)
class Stretches:
    """Tokens of a reply's first grant, of each later one, and of one that a sentence does not end sooner.

    The next stretch is written when the voice is less than `comfort_s` of audio ahead of its listener, or after
    `rest_s`. A voice that takes longer than `patience_s` for a stretch is no longer waited for. The two together must
    be less than the model's `grant_timeout_s`.
    """

    first: int = 24
    later: int = 32
    most: int = 96
    comfort_s: float = 2.0
    rest_s: float = 15.0
    patience_s: float = 10.0


class Interleaver:
    """One conversation's, between its model and its voice. `device` is shared by all conversations of a GPU."""

    def __init__(self, device: Phases, stretches: Stretches | None = None) -> None:
        self._device = device
        self._stretches = stretches or Stretches()
        self._ids = itertools.count(1)
        self._spoken: dict[int, asyncio.Future[float]] = {}

    def grant(self, *, first: bool) -> llm_pb2.Grant:
        """The next stretch, by an id of its own."""
        stretches = self._stretches
        tokens, most = (stretches.first, 0) if first else (stretches.later, stretches.most)
        return llm_pb2.Grant(segment_id=next(self._ids), token_count=tokens, most_token_count=most, whole_clauses=True)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """The device is the models'."""
        async with self._device.hold("llm"):
            yield

    @asynccontextmanager
    async def speaking(self) -> AsyncIterator[None]:
        """The device is the voices'."""
        async with self._device.hold("tts"):
            yield

    def spoken(self, segment_id: int, ahead_s: float = 0.0) -> None:
        """The voice has done with the segment, and is so much audio ahead of its listener."""
        waiting = self._spoken.get(segment_id)
        if waiting and not waiting.done():
            waiting.set_result(ahead_s)

    @asynccontextmanager
    async def awaiting(self, segment_id: int) -> AsyncIterator[asyncio.Future[float]]:
        """What `until_wanted` waits for; made before the voice can have done with the segment."""
        self._spoken[segment_id] = asyncio.get_running_loop().create_future()
        try:
            yield self._spoken[segment_id]
        finally:
            del self._spoken[segment_id]

    async def until_wanted(self, spoken: asyncio.Future[float]) -> None:
        """Returns when the next stretch should be written."""
        stretches = self._stretches
        try:
            async with asyncio.timeout(stretches.patience_s):
                ahead_s = await spoken
        except TimeoutError:
            return
        await asyncio.sleep(min(stretches.rest_s, max(0.0, ahead_s - stretches.comfort_s)))
