"""Which of the engine's slots a turn goes to, so that conversations keep their evaluated prompts.

The engine's own choice, the slot with the longest common prefix, lets two conversations with one system prompt throw
each other's turns away.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Place:
    """A slot: the prompt it has evaluated, and the part of that which no other conversation has."""

    index: int
    history: str = ""
    settled: str = ""
    used: int = 0
    held: bool = False

    def worth(self, prompt: str) -> int:
        """How much of `prompt` is known to be this slot's conversation; -1 when it is another."""
        if prompt.startswith(self.history):
            return len(self.history)
        if self.settled and prompt.startswith(self.settled):
            return len(self.settled)
        return -1


class Places:
    """The slots. A turn that goes on where one ended, or asks its last question anew, finds that conversation's slot;
    any other takes a fresh one, or the one that was used least recently."""

    def __init__(self, total: int) -> None:
        self._places = [Place(index) for index in range(total)]
        self._clock = itertools.count(1)

    def warmed(self, prompt: str) -> None:
        """Every slot has evaluated `prompt`."""
        for place in self._places:
            place.history = prompt

    @contextmanager
    def hold(self, prompt: str, answered: str) -> Iterator[int]:
        """A slot's index for a turn whose prompt is `prompt`, and `answered` up to the last answer in it.

        There must be a free one: the service takes no more turns than there are.
        """
        free = [place for place in self._places if not place.held]
        place = max(free, key=lambda place: (place.worth(prompt), -place.used))
        self._take(place, prompt, answered)
        try:
            yield place.index
        finally:
            place.held = False

    def _take(self, place: Place, prompt: str, answered: str) -> None:
        goes_on = place.used and prompt.startswith(place.history)
        if goes_on and len(answered) > len(place.history):
            place.settled = answered
        elif not (place.settled and prompt.startswith(place.settled)):
            place.settled = ""
        place.history, place.used, place.held = prompt, next(self._clock), True
