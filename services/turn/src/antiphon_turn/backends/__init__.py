"""What a turn model is to the rest of this service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..edges import Rules

BACKENDS = {
    "stub": "antiphon_turn.backends.stub:StubDetector",
    "smart-turn": "antiphon_turn.backends.smart_turn:SmartTurnDetector",
}


@dataclass(frozen=True, slots=True)
class Question:
    """Does this sound finished? `pcm` is the turn so far, 16-bit, ending `silence_ms` after its last speech."""

    pcm: bytes
    silence_ms: int


@dataclass(frozen=True, slots=True)
class Judged:
    """How likely it is that the turn is over, and when (time.monotonic) the model began to work on that."""

    probability: float
    began_s: float


class Ear(Protocol):
    """The model's state for one speaker. Neither method is called again before it has answered or was cancelled."""

    async def voice(self, frame: bytes) -> float:
        """How likely the stream's next frame (`Rules.frame_samples` 16-bit samples) is voice, 0 to 1."""
        ...

    async def judge(self, question: Question) -> Judged:
        """Cancelled when speech goes on: the model should then not begin to work on it."""
        ...


class Detector(Protocol):
    """A loaded model: one per process, shared by every speaker. `models` and `rates_hz` are what it takes."""

    models: Sequence[str]
    rates_hz: Sequence[int]

    def rules(self, rate_hz: int) -> Rules: ...
    def ear(self, rate_hz: int) -> Ear: ...
    def close(self) -> None: ...
