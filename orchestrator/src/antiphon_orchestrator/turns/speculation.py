"""Answering before the turn is over: which pauses are worth it, and what it may cost."""

from .words import ending

# So much unused allowance is kept for later turns, in calls.
MOST_SAVED = 2.0


class Budget:
    """Keeps the language model's calls below `calls_per_turn` on average, one more at the start of a conversation.

    A turn needs one call. What is allowed beyond that adds up over turns and pays for the calls that are thrown away;
    with 1 there is no speculation.
    """

    def __init__(self, calls_per_turn: float) -> None:
        self._spare = max(0.0, calls_per_turn - 1.0)
        self._saved = 1.0 if self._spare else 0.0

    def spend(self) -> bool:
        """Whether one more call may be made that could turn out to be wasted."""
        if not self._spare or self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True

    def refund(self) -> None:
        """The call was the one that the turn needs."""
        self._saved += 1.0

    def turn_over(self) -> None:
        self._saved = min(MOST_SAVED, self._saved + self._spare)


def worth_answering(text: str, complete: bool | None, language: str = "") -> bool:
    """Whether a pause may be answered at once: its words are known and ask for no more, and no verdict says otherwise.

    `text` is the turn's so far, "" while it is not known; `complete` the newest verdict on this pause, if there is one.
    """
    return bool(text) and complete is not False and not ending(text, language).unfinished
