"""When a caller's turn is over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .words import Ending, ending


@dataclass(frozen=True, slots=True)
class Pause:
    """What is known of the pause that the caller is in.

    `silence_ms` counts from the last sample of speech; `complete` is the newest verdict on this pause, None while
    there is none; `text` is what the turn's words are up to it, None while they are not known.
    """

    silence_ms: float
    complete: bool | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` tells why the turn is over, or what holds it open; "" while it is only a matter of time."""

    commit: bool
    reason: str = ""


WAIT = Decision(commit=False)


class TurnPolicy(Protocol):
    """Decides, again and again while a pause lasts. Must commit in the end, whatever it knows."""

    def decide(self, pause: Pause) -> Decision: ...


@dataclass(frozen=True, slots=True)
class FixedPause:
    """The turn is over after `pause_ms` of silence."""

    pause_ms: float = 600.0

    def decide(self, pause: Pause) -> Decision:
        return Decision(True, "pause") if pause.silence_ms >= self.pause_ms else WAIT


@dataclass(frozen=True, slots=True)
class SmartTurn:
    """The turn is over when the model says so and `min_ms` have passed, or after longer silences.

    Without any verdict it is over after `no_verdict_ms`; against the verdict, after `max_ms`.
    """

    min_ms: float = 200.0
    no_verdict_ms: float = 700.0
    max_ms: float = 1600.0

    def decide(self, pause: Pause) -> Decision:
        if pause.complete and pause.silence_ms >= self.min_ms:
            return Decision(True, "verdict")
        if pause.complete is None and pause.silence_ms >= self.no_verdict_ms:
            return Decision(True, "no verdict")
        if pause.silence_ms >= self.max_ms:
            return Decision(True, "long silence")
        return WAIT if pause.complete is not False else Decision(False, "verdict")


@dataclass(frozen=True, slots=True)
class Fused:
    """Smart Turn's verdict, the words so far and the silence, weighed together.

    Words that ask for more (a conjunction, a filler, a number half given) hold the turn until `hold_ms`, whatever the
    verdict. A complete verdict waits `text_ms` for the words, which the recognizer gives at each pause, and is taken
    without them after that. A question that was judged incomplete is over after `question_ms`. The rest is Smart
    Turn's; `max_ms` bounds it all.
    """

    language: str = ""
    min_ms: float = 200.0
    text_ms: float = 350.0
    question_ms: float = 700.0
    no_verdict_ms: float = 700.0
    hold_ms: float = 1300.0
    max_ms: float = 1600.0

    def decide(self, pause: Pause) -> Decision:
        silence_ms = pause.silence_ms
        if silence_ms >= self.max_ms:
            return Decision(True, "long silence")
        end = None if pause.text is None else ending(pause.text, self.language)
        if end is not None and end.unfinished:
            return Decision(True, "long silence") if silence_ms >= self.hold_ms else Decision(False, end.value)
        if pause.complete:
            return self._complete(silence_ms, end)
        if end is Ending.QUESTION and silence_ms >= self.question_ms:
            return Decision(True, "question")
        if pause.complete is None:
            return Decision(True, "no verdict") if silence_ms >= self.no_verdict_ms else WAIT
        return Decision(False, "verdict")

    def _complete(self, silence_ms: float, end: Ending | None) -> Decision:
        if silence_ms < self.min_ms:
            return WAIT
        if end is None and silence_ms < self.text_ms:
            return Decision(False, "text")
        return Decision(True, "verdict")


# Each by the name that an agent may give, for the agent's language.
POLICIES: dict[str, Callable[[str], TurnPolicy]] = {
    "fixed-pause": lambda _: FixedPause(),
    "smart-turn": lambda _: SmartTurn(),
    "fused": lambda language: Fused(language=language),
}
