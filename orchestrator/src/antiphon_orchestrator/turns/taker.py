"""The place in the pipeline where a caller's turn is committed."""

from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from ..services.frames import AUDIO_LATE_MS, CommitTurnFrame, PauseTextFrame, SpeechPausedFrame, TurnVerdictFrame
from .policy import Pause, TurnPolicy


@dataclass(slots=True)
class _Pause:
    sample: int
    complete: bool | None = None
    text: str | None = None
    held_for: str = ""


class TurnTaker(FrameProcessor):
    """Stands between AntiphonTurnProcessor and AntiphonSTTService: asks the policy while the caller is silent, and
    broadcasts CommitTurnFrame once when it says that the turn is over. Its clock is the caller's audio."""

    def __init__(self, policy: TurnPolicy, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._policy = policy
        self._late_ms = 0.0
        self._heard_samples = 0
        self._rate_hz = 16_000
        # The turn that is open: its newest pause, and whether the caller has stopped in it.
        self._pause: _Pause | None = None
        self._stopped = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            match frame:
                case InputAudioRawFrame():
                    self._rate_hz = frame.sample_rate
                    self._heard_samples += len(frame.audio) // 2
                    self._late_ms = frame.metadata.get(AUDIO_LATE_MS, 0.0)
                case VADUserStartedSpeakingFrame():
                    self._pause, self._stopped = None, False
                case SpeechPausedFrame():
                    self._pause = _Pause(frame.sample)
                case VADUserStoppedSpeakingFrame():
                    self._stopped = True
                case TurnVerdictFrame() if self._pause and self._pause.sample == frame.sample:
                    self._pause.complete = frame.complete
        elif isinstance(frame, PauseTextFrame) and self._pause and self._pause.sample == frame.sample:
            self._pause.text = frame.text  # from the recognizer, which stands after
        await self.push_frame(frame, direction)
        await self._maybe_commit()

    async def _maybe_commit(self) -> None:
        if not self._stopped or self._pause is None:
            return
        pause = self._pause
        silence_ms = (self._heard_samples - pause.sample) * 1000 / self._rate_hz
        decision = self._policy.decide(Pause(silence_ms, pause.complete, pause.text))
        if not decision.commit:
            pause.held_for = decision.reason or pause.held_for
            return
        self._pause, self._stopped = None, False
        await self.broadcast_frame(
            CommitTurnFrame,
            sample=pause.sample,
            reason=decision.reason,
            held_for=pause.held_for,
            silence_ms=silence_ms,
            audio_late_ms=self._late_ms,
        )
