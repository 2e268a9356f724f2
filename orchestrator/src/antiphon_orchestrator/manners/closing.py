"""The end of a call that neither the caller nor a broken service can prevent."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import CancelFrame, EndFrame, Frame, InterruptionFrame, SystemFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from ..services.speculation import ANSWER
from ..turns.playout import Playout
from .phrases import Line, Occasion, PhraseBook
from .utterance import phrase_frames

# Of a phrase that is not known and has to be spoken first.
LEARN_S = 3.0
# From the last words' beginning to the end of the pipeline; it is cancelled then.
CLOSE_S = 30.0
# From when nobody listens any more; what is under way may still be written down.
GONE_S = 5.0
# Before the limit, to have the phrase ready: few calls last so long.
READY_BEFORE_S = 60.0


@dataclass
class LastWordsFrame(SystemFrame):
    """The agent says a phrase to its end, whoever speaks, and nothing after it.

    Parameters:
        occasion: Which phrase.
    """

    occasion: Occasion = Occasion.TIME_UP


class LastWords(FrameProcessor):
    """Says the call's last phrase. Stands before the ReplyGate.

    From LastWordsFrame on, interruptions and responses go no further, the playout is neither paused nor dropped, and
    EndFrame waits until the phrase is on its way. A phrase that the agent does not have, or that the voice service
    does not render within 3 s, is left out.
    """

    def __init__(self, book: PhraseBook, lines: Mapping[Occasion, Line], playout: Playout, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._book = book
        self._lines = lines
        self._playout = playout
        self._closing = False
        self._saying: asyncio.Task[None] | None = None

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._stop()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            if isinstance(frame, LastWordsFrame):
                await self._begin(frame.occasion)
                return
            if self._closing and isinstance(frame, (InterruptionFrame, *ANSWER)):
                return
            if self._saying and isinstance(frame, EndFrame):
                await asyncio.wait([self._saying])
            if isinstance(frame, CancelFrame):
                await self._stop()
        await self.push_frame(frame, direction)

    async def _begin(self, occasion: Occasion) -> None:
        if not self._closing:
            self._closing = True
            self._playout.keep_floor()
            await self.push_frame(InterruptionFrame())
            self._saying = self.create_task(self._say(occasion), "last words")

    async def _stop(self) -> None:
        if self._saying and not self._saying.done():
            await self.cancel_task(self._saying)

    async def _say(self, occasion: Occasion) -> None:
        line = self._lines.get(occasion)
        if line is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LEARN_S):
                await self._book.learn([line])
        if spoken := self._book.get(line):
            for frame in phrase_frames(spoken, self.get_clock().get_time(), remembered=True):
                await self.push_frame(frame)


class Closing:
    """Ends the pipeline of a call, also when a processor does not let go of its EndFrame.

    Pipecat's worker handles nothing after an EndFrame until that has come through, a `cancel` neither. So after
    `within_s` a CancelFrame is given to the pipeline itself.
    """

    def __init__(self, worker: PipelineWorker, pipeline: Pipeline, within_s: float = CLOSE_S) -> None:
        self._worker = worker
        self._pipeline = pipeline
        self._within_s = within_s
        self._ending = asyncio.Event()
        self._gone = asyncio.Event()

    def line_is_gone(self) -> None:
        """Nobody listens any more: the pipeline has `GONE_S` to end."""
        self._ending.set()
        self._gone.set()

    async def end(self) -> None:
        """Let what has been said be heard, then end: the caller asked for it."""
        self._ending.set()
        await self._worker.queue_frame(EndFrame())

    async def end_with(self, occasion: Occasion) -> None:
        """Stop what is under way, have the phrase said to its end, then end."""
        self._ending.set()
        await self._worker.queue_frames([InterruptionFrame(), LastWordsFrame(occasion=occasion), EndFrame()])

    async def enforce(self) -> None:
        """Run beside the pipeline, to be cancelled when that has ended."""
        await self._ending.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._within_s):
                await self._gone.wait()
                await asyncio.sleep(GONE_S)
        await self._pipeline.queue_frame(CancelFrame(reason=f"not ended within {self._within_s:g} s"))


async def after_call_length(
    max_s: float, time_up: Callable[[], Awaitable[None]], get_ready: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Wait for the end of the time that a call may last, then call `time_up`.

    `get_ready` is called a minute before; it may take long or fail without delaying the end.
    """
    ahead_s = min(READY_BEFORE_S, max_s)
    await asyncio.sleep(max_s - ahead_s)
    readying = asyncio.create_task(get_ready(), name="last words")
    try:
        await asyncio.sleep(ahead_s)
        await time_up()
    finally:
        readying.cancel()
        await asyncio.gather(readying, return_exceptions=True)
