"""Detects answers that cannot come any more, from the frames between the voice and the transport."""

from enum import StrEnum

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    FunctionCallCancelFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
)
from pipecat.services.llm_service import LLMService

from ..services.errors import breaks_answers
from ..services.frames import AnswerOwedFrame
from ..services.speculation import Withdrawals, is_own


class Answer(StrEnum):
    """The end of an answer that was owed."""

    GIVEN = "given"
    MISSED = "missed"


class AnswerWatch:
    """Follows what a caller is owed, from AnswerOwedFrame until the answer was heard or cannot come.

    `note` takes the frames that pass behind the voice, in both directions; `failed` takes errors, which leave a
    pipeline the other way. Both return how the answer ended, once, or None. An interruption withdraws the debt.
    """

    def __init__(self) -> None:
        self.owed = False
        self._withdrawals = Withdrawals()
        self._agent_speaking = False
        self._model_lost = False
        self._forget()

    def _forget(self) -> None:
        self._generating = self._responded = self._sounded = self._heard = self._broken = False
        # Tool calls without a result, and whether the model must respond again after the last one.
        self._tool_calls: set[str] = set()
        self._continues = False

    def note(self, frame: Frame) -> Answer | None:
        if self._withdrawals.is_stale(frame):
            return None
        match frame:
            case AnswerOwedFrame():
                self.owed = True
                if frame.error or self._model_lost:
                    return self._end(Answer.MISSED)
                return self._settle()
            case InterruptionFrame():
                self.owed = False
                self._forget()
            case EagerEndOfTurnCancelFrame():
                self._forget()
            case BotStartedSpeakingFrame():
                self._agent_speaking = True
                self._heard |= self._sounded
            case BotStoppedSpeakingFrame():
                self._agent_speaking = False
                self._heard |= self._sounded
                return self._settle()
            case _:
                return self._note_answer(frame)
        return None

    def _note_answer(self, frame: Frame) -> Answer | None:
        match frame:
            case LLMFullResponseStartFrame():
                self._generating, self._responded, self._continues = True, False, False
            case TTSAudioRawFrame() if not is_own(frame):
                self._sounded = True
                self._heard |= self._agent_speaking
            case FunctionCallsStartedFrame():
                self._tool_calls |= {call.tool_call_id for call in frame.function_calls}
            case FunctionCallResultFrame() | FunctionCallCancelFrame() if frame.tool_call_id in self._tool_calls:
                self._tool_calls.discard(frame.tool_call_id)
                self._continues = not self._tool_calls
            case LLMFullResponseEndFrame() if self._generating:
                self._generating, self._responded = False, True
                return self._settle()
        return None

    def failed(self, error: ErrorFrame) -> Answer | None:
        """A service reported an error. Of an answer that has begun to sound, the rest is awaited first."""
        if not breaks_answers(error):
            return None
        if isinstance(error.processor, LLMService) and not error.processor.is_usable:
            self._model_lost = True
        if not self.owed:
            self._broken |= self._generating or self._sounded  # an answer that may yet count
            return None
        self._broken = True
        return self._settle() if self._sounded else self._end(Answer.MISSED)

    def overdue(self) -> Answer | None:
        """The answer took longer than allowed."""
        return self._end(Answer.MISSED) if self.owed else None

    def _settle(self) -> Answer | None:
        under_way = self._generating or self._tool_calls or self._continues or self._agent_speaking
        if not self.owed or under_way:
            return None
        if self._heard:
            return self._end(Answer.MISSED if self._broken else Answer.GIVEN)
        # Audio that is not heard yet is still on its way. An answer that has not begun is ended by errors or the limit.
        return self._end(Answer.MISSED) if self._responded and not self._sounded else None

    def _end(self, how: Answer) -> Answer:
        self.owed = False
        self._forget()
        return how
