"""What is seen before it is known whether it counts."""

from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from .services.frames import (
    CommitTurnFrame,
    EmptyUtteranceFrame,
    OverlapEndedFrame,
    SpeechPausedFrame,
    TurnVerdictFrame,
)
from .services.speculation import is_speculative

# What an answer consists of before any of it is heard.
ANSWER = (LLMFullResponseStartFrame, LLMTextFrame, LLMFullResponseEndFrame, TTSAudioRawFrame)
SPEECH = (
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
    SpeechPausedFrame,
    TurnVerdictFrame,
    CommitTurnFrame,
    TranscriptionFrame,
    EmptyUtteranceFrame,
)
Seen = list[tuple[Frame, int]]


class Early:
    """Keeps a caller's speech until it has begun a turn, and an answer until its turn is over.

    For each frame ask `counted`, `dropped` and `holds`, in this order. What is kept is bounded by what a caller can
    say, and an agent answer, while the policies on barge-in and on the end of a turn decide.
    """

    def __init__(self) -> None:
        self._in_turn = False
        self._speech: Seen = []
        # None when no answer is kept.
        self._answer: Seen | None = None

    def counted(self, frame: Frame) -> Seen:
        """What was kept and counts, now that this frame has come."""
        kept: Seen = []
        match frame:
            case UserStartedSpeakingFrame():
                self._in_turn = True
                kept, self._speech = self._speech, []
            case UserStoppedSpeakingFrame():
                self._in_turn = False
                kept, self._answer = self._answer or [], None
        return kept

    def dropped(self, frame: Frame) -> Seen:
        """What was kept and will never count, now that this frame has come: speech after it has ended, or an answer."""
        kept: Seen = []
        match frame:
            case OverlapEndedFrame():
                kept, self._speech = self._speech, []
            case EagerEndOfTurnCancelFrame() | InterruptionFrame() if self._answer is not None:
                kept, self._answer = self._answer, None
        return kept

    def holds(self, frame: Frame, now: int) -> bool:
        """Whether the frame is kept."""
        if isinstance(frame, SPEECH) and not self._in_turn:
            if isinstance(frame, VADUserStartedSpeakingFrame):
                self._speech.clear()
            self._speech.append((frame, now))
            return True
        if isinstance(frame, LLMFullResponseStartFrame) and is_speculative(frame) and self._in_turn:
            self._answer = []
        if self._answer is None or not isinstance(frame, ANSWER):
            return False
        self._answer.append((frame, now))
        return True
