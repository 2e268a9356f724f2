"""When each written word is heard, from the text tokens that the frames attend to."""

from collections.abc import Iterator, Sequence

from ...cleaning import Line
from ..alignment import aligned


class WordTimes:
    """Places of a line's written words, told as the read words that they became are passed.

    `read` are the words as the model reads them, in order. Their places come by `begins`, in samples or any other unit.
    """

    def __init__(self, line: Line, read: Sequence[str]) -> None:
        starts, ends = aligned(line.tokens, [(word, float(at), float(at + 1)) for at, word in enumerate(read)])
        self._words = [(word.text, starts[word.tokens.start], ends[word.tokens.stop - 1]) for word in line.words]
        self._count = len(read)
        # Where read words begin, as far as that is known; and, in the end, where the last one ends.
        self._edges: list[float] = []
        self._told = 0

    @property
    def known(self) -> int:
        """How many edges are known."""
        return len(self._edges)

    def begins(self, at: float) -> None:
        """The next read word begins here, or the last one ends."""
        if len(self._edges) <= self._count:
            self._edges.append(max(at, self._edges[-1]) if self._edges else at)

    def ended(self, at: float) -> None:
        """What has not begun yet, if anything, is here."""
        while len(self._edges) <= self._count:
            self.begins(at)

    def said(self) -> Iterator[tuple[str, float, float]]:
        """Written words whose end has become known, each once, with start and end."""
        while self._told < len(self._words):
            text, start, end = self._words[self._told]
            if end > len(self._edges) - 1:
                return
            self._told += 1
            yield text, self._at(start), self._at(end)

    def _at(self, place: float) -> float:
        """The place of a read word's number, between words in proportion."""
        index = min(int(place), len(self._edges) - 1)
        following = self._edges[min(index + 1, len(self._edges) - 1)]
        return self._edges[index] + (following - self._edges[index]) * (place - index)
