"""Rules that tell an interruption from a noise, a back-channel or the agent's own echo."""

from dataclasses import dataclass
from enum import StrEnum

from .words import is_back_channel, spoken_words


@dataclass(frozen=True, slots=True)
class Overlap:
    """The caller's speech over the agent's, as far as it is known.

    `speech_ms` is how long it has lasted, `silence_ms` how long it has paused, None while it goes on; `text` is its
    words so far, "" when there are none, None while they are not known; `had_words` tells that some were known before
    the pause, whose own are still to come. Of the agent's reply, `said` is what has been
    heard, and `left_ms` how much is still to come, None while it is being made.
    """

    speech_ms: float
    silence_ms: float | None = None
    text: str | None = None
    said: str = ""
    left_ms: float | None = None
    had_words: bool = False


class Ruling(StrEnum):
    """The decision on the agent's reply, which is paused meanwhile."""

    WAIT = "wait"
    STOP = "stop"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Words stop the agent, and so does `speech_ms` of speech, whatever it says: known for sure `unnoticed_ms` later,
    because a pause is noticed late: after 64 ms on an idle machine, 200 ms later on one whose models share two cores.

    Words that only show that the caller listens do not, unless they last `listening_ms` or come within `end_ms` of the
    reply's end, where they are an answer. Nor does the agent's own voice, known by its words. Of shorter speech,
    `resume_ms` of silence without words was a noise, and so was what the recognizer found none in.
    """

    language: str = ""
    speech_ms: float = 600.0
    unnoticed_ms: float = 200.0
    listening_ms: float = 1500.0
    resume_ms: float = 500.0
    end_ms: float = 1000.0

    @property
    def sure_ms(self) -> float:
        return self.speech_ms + self.unnoticed_ms

    def decide(self, overlap: Overlap) -> Ruling:
        if overlap.text and not is_echo(overlap.text, overlap.said):
            return self._of_words(overlap, overlap.text)
        if overlap.silence_ms is None:
            unknown = not overlap.text
            return Ruling.STOP if unknown and overlap.speech_ms >= self.sure_ms else Ruling.WAIT
        if not (overlap.text or overlap.had_words) and overlap.speech_ms >= self.speech_ms:
            return Ruling.STOP
        heard_nothing = overlap.text is not None or overlap.silence_ms >= self.resume_ms
        return Ruling.RESUME if heard_nothing else Ruling.WAIT

    def _of_words(self, overlap: Overlap, text: str) -> Ruling:
        answers = overlap.left_ms is not None and overlap.left_ms < self.end_ms
        speaks = overlap.silence_ms is None
        listens = is_back_channel(text, self.language, unfinished=speaks) and overlap.speech_ms < self.listening_ms
        if answers or not listens:
            return Ruling.STOP
        return Ruling.WAIT if speaks else Ruling.RESUME


def is_echo(text: str, said: str) -> bool:
    """Return True if these are words that the agent has just said, two or more in a row."""
    words, own = spoken_words(text), spoken_words(said)
    starts = range(len(own) - len(words) + 1)
    return len(words) > 1 and any(own[at : at + len(words)] == words for at in starts)
