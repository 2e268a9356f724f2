"""Turns that the caller types."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from pipecat.frames.frames import (
    Frame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.time import time_now_iso8601

from ..services.frames import CommitTurnFrame, EmptyUtteranceFrame, TypedTextFrame
from ..timeline import TYPED

# Texts that wait while the caller speaks; a further one is refused.
MOST_WAITING = 4
_TYPED = "antiphon.typed"


def is_typed(frame: Frame) -> bool:
    """Return True for the beginning and the words of a typed turn: it interrupts the agent whatever it says."""
    return _TYPED in frame.metadata


class TypedTurns(FrameProcessor):
    """Stands behind the recognizer: makes of a TypedTextFrame what an utterance makes from its start to its text.

    While the caller speaks, and until the text of that is here, typed texts wait.
    """

    def __init__(self, on_refused: Callable[[], Awaitable[None]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._on_refused = on_refused
        # Whether an utterance is under way, and how many are committed and still without a text.
        self._speaking = False
        self._due = 0
        self._waiting: deque[str] = deque()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
            return
        if isinstance(frame, TypedTextFrame):
            await self._take(frame.text)
            return
        await self.push_frame(frame, direction)
        match frame:
            case VADUserStartedSpeakingFrame():
                self._speaking = True
            case CommitTurnFrame():
                self._speaking, self._due = False, self._due + 1
            case TranscriptionFrame() | EmptyUtteranceFrame():
                self._due = max(0, self._due - 1)
                await self._say_waiting()

    async def _say_waiting(self) -> None:
        if self._waiting and not self._in_utterance:
            text = " ".join(self._waiting)
            self._waiting.clear()
            await self._say(text)

    @property
    def _in_utterance(self) -> bool:
        return self._speaking or self._due > 0

    async def _take(self, text: str) -> None:
        if not self._in_utterance:
            await self._say(text)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append(text)
        else:
            await self._on_refused()

    async def _say(self, text: str) -> None:
        start = VADUserStartedSpeakingFrame(start_secs=0.0)
        start.metadata[_TYPED] = True
        words = TranscriptionFrame(text, "", time_now_iso8601(), finalized=True)
        words.metadata[_TYPED] = True
        words.interruptible = False
        stop, commit = VADUserStoppedSpeakingFrame(stop_secs=0.0), CommitTurnFrame(sample=-1, reason=TYPED)
        for frame in (start, stop, commit, words):
            await self.push_frame(frame)
