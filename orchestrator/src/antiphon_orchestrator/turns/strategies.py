"""The end of a user turn as Pipecat's aggregator sees it."""

from typing import Any

from pipecat.frames.frames import (
    Frame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import BaseUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from ..services.frames import EmptyUtteranceFrame


class CommittedTurnStopStrategy(BaseUserTurnStopStrategy):
    """The turn was committed before: what is left is its final text, or that there is none.

    When the caller speaks on meanwhile, the text waits for that of the next commit.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._speaking = False

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        match frame:
            case VADUserStartedSpeakingFrame():
                self._speaking = True
            case VADUserStoppedSpeakingFrame():
                self._speaking = False
            case TranscriptionFrame(finalized=True) | EmptyUtteranceFrame() if not self._speaking:
                await self.trigger_user_turn_stopped()
        return ProcessFrameResult.CONTINUE


def committed_turns() -> UserTurnStrategies:
    """Turns begin with speech and end with the committed text."""
    return UserTurnStrategies(start=[VADUserTurnStartStrategy()], stop=[CommittedTurnStopStrategy()])
