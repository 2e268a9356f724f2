"""A user turn, and its end, as Pipecat's aggregator sees it."""

from typing import Any

from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService
from pipecat.turns.types import ProcessFrameResult, UserTurnSpeculation
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import BaseUserTurnStopStrategy, NormalizedMatch
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from ..services.frames import (
    EmptyUtteranceFrame,
    PauseTextFrame,
    SpeechPausedFrame,
    SpeechResumedFrame,
    TurnVerdictFrame,
)
from .barge_in import BargeIn
from .overlap import OverlapStartStrategy
from .playout import Playout
from .speculation import Budget, worth_answering


class CommittedTurnStopStrategy(BaseUserTurnStopStrategy):
    """The turn was committed before: what is left is its final text, or that there is none.

    When the caller speaks on meanwhile, the text waits for that of the next commit.

    Before the commit, the words of a pause are answered at once when they ask for no more, no verdict says that more
    will come, and `budget` allows it. More speech, another text or a broken answer withdraw that answer, and the turn
    goes on as if it had never been.
    """

    def __init__(self, budget: Budget, language: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._budget = budget
        self._language = language
        self._same = NormalizedMatch()
        self._speaking = False
        # Of the newest pause: where it began, what was said up to it, and what the model makes of it.
        self._sample: int | None = None
        self._text = ""
        self._complete: bool | None = None
        # Texts of commits that were too early: the turn goes on after them.
        self._before: list[str] = []
        self._answering: str | None = None
        self._in_turn = False

    async def handle_user_turn_started(self) -> None:
        self._in_turn = True
        self._before.clear()

    async def handle_user_turn_stopped(self) -> None:
        self._in_turn = False
        self._before.clear()
        await self._withdraw()

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        match frame:
            case VADUserStartedSpeakingFrame() | SpeechResumedFrame():
                self._speaking, self._sample = True, None
                await self._withdraw()
            case VADUserStoppedSpeakingFrame():
                self._speaking = False
            case SpeechPausedFrame():
                self._sample, self._text, self._complete = frame.sample, "", None
                await self._withdraw()
            case TurnVerdictFrame() if frame.sample == self._sample:
                self._complete = frame.complete
                await self._maybe_answer()
            case PauseTextFrame() if frame.sample == self._sample:
                self._text = frame.text
                await self._maybe_answer()
            case EagerEndOfTurnCancelFrame():  # the model wants a tool: it would again
                self._answering, self._sample = None, None
            case ErrorFrame() if isinstance(frame.processor, LLMService | TTSService):
                self._sample = None
                await self._withdraw()
            case TranscriptionFrame() | EmptyUtteranceFrame() if not self._in_turn:
                self._sample = None
            case TranscriptionFrame(finalized=True) | EmptyUtteranceFrame() if not self._speaking:
                await self._end(getattr(frame, "text", ""))
            case TranscriptionFrame():
                self._before.append(frame.text)
        return ProcessFrameResult.CONTINUE

    async def _maybe_answer(self) -> None:
        worth = self._in_turn and worth_answering(self._text, self._complete, self._language)
        if not worth or self._answering is not None or not self._budget.spend():
            return
        self._answering = " ".join([*self._before, self._text])
        await self.trigger_user_turn_inference_triggered(speculation=UserTurnSpeculation(self._answering))

    async def _withdraw(self) -> None:
        if self._answering is not None:
            self._answering = None
            await self.trigger_user_turn_speculation_cancelled()

    async def _end(self, text: str) -> None:
        self._sample = None
        self._budget.turn_over()
        if self._answering is not None and self._same.matches(self._answering, " ".join([*self._before, text])):
            self._answering = None
            self._budget.refund()
            await self.trigger_user_turn_finalized(confirms_speculation=True)
        else:
            await self._withdraw()
            await self.trigger_user_turn_stopped()


def committed_turns(
    budget: Budget | None = None, language: str = "", playout: Playout | None = None
) -> UserTurnStrategies:
    """Turns begin with speech and end with the committed text.

    Without a `budget` none is answered before its end. Without the transport's `playout` any speech interrupts the
    agent.
    """
    start = OverlapStartStrategy(BargeIn(language), playout) if playout else VADUserTurnStartStrategy()
    return UserTurnStrategies(start=[start], stop=[CommittedTurnStopStrategy(budget or Budget(1.0), language)])
