"""The end of a user turn as Pipecat's aggregator sees it."""

from pipecat.frames.frames import Frame, TranscriptionFrame
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import BaseUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from ..services.frames import EmptyUtteranceFrame


class CommittedTurnStopStrategy(BaseUserTurnStopStrategy):
    """The turn was committed before: what is left is its final text, or that there is none."""

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        final = isinstance(frame, TranscriptionFrame) and frame.finalized
        if final or isinstance(frame, EmptyUtteranceFrame):
            await self.trigger_user_turn_stopped()
        return ProcessFrameResult.CONTINUE


def committed_turns() -> UserTurnStrategies:
    """Turns begin with speech and end with the committed text."""
    return UserTurnStrategies(start=[VADUserTurnStartStrategy()], stop=[CommittedTurnStopStrategy()])
