"""Detects what a caller suffers and no latency shows: silence where a reply was due, and the agent answering itself."""

from collections.abc import Callable
from enum import StrEnum

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    Frame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed

from .containment import Containment
from .services.frames import AgentSilencedFrame, AnswerOwedFrame, CommitTurnFrame, OverlapEndedFrame, SpeechPausedFrame
from .timeline import TYPED
from .turns.barge_in import is_echo

# From the caller's last sound. A listener takes a longer silence for a fault.
DEAD_AIR_NS = 3_000_000_000


class Trouble(StrEnum):
    """A kind of trouble; the values of the label `kind` of `antiphon_caller_trouble_total`."""

    DEAD_AIR = "dead_air"
    BROKEN_OFF = "broken_off"
    SILENCE_AFTER_INTERRUPTION = "silence_after_interruption"
    SELF_TALK = "self_talk"


class TroubleObserver(BaseObserver):
    """Calls `count` for each trouble of a call, when it is over or the call is.

    Broken-off answers are known from their turns, not from here. A turn whose words are what the agent has just said
    is self-talk.
    """

    def __init__(self, count: Callable[[Trouble], None], said: Callable[[], str], containment: Containment) -> None:
        """`said` gives what has been heard of the agent's latest reply."""
        super().__init__(observe_every_push=False)
        self._count = count
        self._said = said
        self._containment = containment
        self._speech_end_ns: int | None = None
        # Time since which the caller waits for audio of the agent, None while not waiting.
        self._waits_since_ns: int | None = None
        self._silenced = False
        self._heard_before = ""
        self._now_ns = 0

    async def on_push_frame(self, data: FramePushed) -> None:
        with self._containment.contained("observer"):
            self.note(data.frame, data.timestamp)

    def note(self, frame: Frame, now_ns: int) -> None:
        """Take note of a frame at `now_ns` of the pipeline's clock."""
        self._now_ns = now_ns
        match frame:
            case SpeechPausedFrame():
                self._speech_end_ns = frame.speech_end_ns
            case UserStartedSpeakingFrame():
                self._check()
                self._heard_before = self._said()
            case TranscriptionFrame() if is_echo(frame.text, self._heard_before):
                self._count(Trouble.SELF_TALK)
            case CommitTurnFrame(reason=reason) if reason == TYPED:
                self._speech_end_ns = None
            case AgentSilencedFrame():
                self._silenced = True
            case OverlapEndedFrame():
                self._silenced = False
            case AnswerOwedFrame():
                self._waits_since_ns = self._speech_end_ns or now_ns
            case UserStoppedSpeakingFrame() if self._silenced and self._waits_since_ns is None:
                # The caller interrupted without words: a reply is due all the same.
                self._waits_since_ns = self._speech_end_ns or now_ns
            case BotStartedSpeakingFrame():
                self._check()
                self._silenced = False

    def finish(self) -> None:
        """The call is over."""
        with self._containment.contained("observer"):
            self._check()

    def _check(self) -> None:
        since_ns, self._waits_since_ns = self._waits_since_ns, None
        if since_ns is not None and self._now_ns - since_ns > DEAD_AIR_NS:
            self._count(Trouble.SILENCE_AFTER_INTERRUPTION if self._silenced else Trouble.DEAD_AIR)
