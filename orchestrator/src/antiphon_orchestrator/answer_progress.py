"""Progress of a turn's answer through the model, its tools and the voice."""

from pipecat.frames.frames import (
    Frame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
)

from .services.tts import SEGMENT_MS
from .timeline import Turn

MS = 1_000_000


class AnswerProgress:
    """Follows the open turn's answer, and writes its stages and spans up to the voice's first audio.

    An answer spans several responses of the model when tools are called.
    """

    def __init__(self) -> None:
        self._llm_start_ns = 0
        self._tool_start_ns = 0
        self.begin()

    def begin(self) -> None:
        """Start over, for the answer of another turn."""
        self._generating = False
        self._has_text = False
        # Tools were called, and the model has not gone on since.
        self._tool_due = False
        # LLM responses whose spoken part has not been written to the context yet.
        self._texts_due = 0

    @property
    def is_over(self) -> bool:
        return not (self._generating or self._tool_due or self._texts_due)

    def remember(self) -> None:
        """Note that the spoken part of a response was written to the context."""
        self._texts_due = max(0, self._texts_due - 1)

    def note(self, turn: Turn, frame: Frame, now: int) -> bool:
        """Account for a frame of the turn's answer. Return True if it ends a response of the model."""
        match frame:
            case LLMFullResponseStartFrame():
                if self._tool_due and not turn.reached("tts"):
                    turn.stage("tool", now)
                self._generating, self._has_text, self._tool_due = True, False, False
                turn.llm_calls += 1
                self._llm_start_ns = now
            case LLMTextFrame() if frame.text.strip() and self._generating and not self._has_text:
                self._has_text = True
                if not turn.reached("tts"):
                    turn.stage("llm", now)
                turn.span("llm first token", self._llm_start_ns, now)
            case LLMFullResponseEndFrame() if self._generating:
                self._generating = False
                self._texts_due += self._has_text
                turn.span("llm", self._llm_start_ns, now)
                return True
            case TTSAudioRawFrame() if turn.reached("llm") and not turn.reached("tts"):
                worked_ns = round(frame.metadata.get(SEGMENT_MS, 0.0) * MS)
                turn.stage("clause", now - worked_ns)
                turn.stage("tts", now)
                turn.span("tts first audio", now - worked_ns, now)
            case _:
                self._note_tools(turn, frame, now)
        return False

    def _note_tools(self, turn: Turn, frame: Frame, now: int) -> None:
        match frame:
            case FunctionCallsStartedFrame():
                self._tool_due = True
                if not turn.reached("tts"):
                    turn.stage("llm", now)
                turn.tools += [call.function_name for call in frame.function_calls]
            case FunctionCallInProgressFrame():
                self._tool_start_ns = now
            case FunctionCallResultFrame():
                turn.span(f"tool {frame.function_name}", self._tool_start_ns, now)
