"""Which frames belong to an answer that may be withdrawn, or has been."""

from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

# In an LLMFullResponseStartFrame's metadata: the id of the speculative LLMContextFrame that it answers.
_ANSWERS = "antiphon.speculative"
# In the metadata of what the agent says by itself.
_OWN = "antiphon.own"
ANSWER = (
    LLMFullResponseStartFrame,
    TextFrame,
    LLMFullResponseEndFrame,
    TTSStartedFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)


def mark_speculative(frame: LLMFullResponseStartFrame, asked: LLMContextFrame) -> None:
    """The frame begins an answer to a turn that may not be over."""
    frame.metadata[_ANSWERS] = asked.id


def is_speculative(frame: Frame) -> bool:
    return _ANSWERS in frame.metadata


def mark_as_own(frame: Frame) -> None:
    """The frame is no part of an answer, so no withdrawal concerns it."""
    frame.metadata[_OWN] = True


def is_own(frame: Frame) -> bool:
    return _OWN in frame.metadata


def question_of(frame: LLMFullResponseStartFrame) -> int | None:
    """The id of the speculative LLMContextFrame that the answer belongs to, None when its turn is over anyway."""
    asked: int | None = frame.metadata.get(_ANSWERS)
    return asked


class Withdrawals:
    """A processor's view of the answers that come through it, frame by frame.

    What withdraws an answer overtakes it, so some of the answer may come later. Pipecat numbers frames in the order
    in which they are made: an answer to a question that is older than the last withdrawal is withdrawn.
    """

    def __init__(self) -> None:
        # The question of the answer that is under way and does not count yet.
        self._asked: int | None = None
        self._withdrawn = 0
        self._dropping = False
        self._turn_over = False

    @property
    def undecided(self) -> bool:
        """True while the answer in progress may still be withdrawn."""
        return self._asked is not None

    def is_stale(self, frame: Frame) -> bool:
        """Takes note of the frame, and says whether it must go no further."""
        match frame:
            case EagerEndOfTurnCancelFrame() | InterruptionFrame():
                self._withdrawn = frame.id
                self._dropping |= self.undecided
                self._asked = None
            case UserStartedSpeakingFrame():
                self._turn_over = False
            case UserStoppedSpeakingFrame():
                self._turn_over, self._asked = True, None
            case LLMContextFrame(speculation=True):
                return frame.id < self._withdrawn
            case LLMFullResponseStartFrame():
                asked: int | None = frame.metadata.get(_ANSWERS)
                self._dropping = asked is not None and asked < self._withdrawn
                self._asked = None if self._dropping or self._turn_over else asked
        return self._dropping and isinstance(frame, ANSWER) and not is_own(frame)
