"""When a caller's turn is over."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pause:
    """What is known of the pause that the caller is in.

    `silence_ms` counts from the last sample of speech; `complete` is the newest verdict on this pause, None while
    there is none.
    """

    silence_ms: float
    complete: bool | None


class TurnPolicy(Protocol):
    """Decides, again and again while a pause lasts."""

    def decide(self, pause: Pause) -> str | None:
        """Why the turn is over, None to wait."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPause:
    """The turn is over after `pause_ms` of silence."""

    pause_ms: float = 600.0

    def decide(self, pause: Pause) -> str | None:
        return "pause" if pause.silence_ms >= self.pause_ms else None


@dataclass(frozen=True, slots=True)
class SmartTurn:
    """The turn is over when the model says so and `min_ms` have passed, or after longer silences.

    Without any verdict it is over after `no_verdict_ms`; against the verdict, after `max_ms`.
    """

    min_ms: float = 200.0
    no_verdict_ms: float = 700.0
    max_ms: float = 1600.0

    def decide(self, pause: Pause) -> str | None:
        if pause.complete and pause.silence_ms >= self.min_ms:
            return "verdict"
        if pause.complete is None and pause.silence_ms >= self.no_verdict_ms:
            return "no verdict"
        return "long silence" if pause.silence_ms >= self.max_ms else None


POLICIES: dict[str, TurnPolicy] = {"fixed-pause": FixedPause(), "smart-turn": SmartTurn()}
