"""What the decoder emits, and which utterance it belongs to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .. import Word

# Encoder frames between two pieces of one word, at most: 320 ms.
WITHIN_A_WORD = 4


@dataclass(frozen=True, slots=True)
class Token:
    """An emitted token, the encoder frame (from the stream's first) that it was emitted at, and its confidence."""

    id: int
    frame: int
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Echo:
    """Tells what is new from what a committed utterance's flush has already said.

    A commit is answered by a copy of the stream that heard silence after the end. The live stream hears what really
    comes and emits the utterance's last tokens too, a little later. Up to the copy's last frame, a token that the copy
    has emitted is such an echo, and so is one before the end while more of the copy's are to come. The first that is
    neither begins the next utterance.
    """

    end_frame: int
    said: tuple[int, ...] = ()
    last_frame: int = -1

    def without(self, tokens: Iterable[Token]) -> list[Token]:
        """The tokens, in order, that are no echo."""
        expected = list(self.said)
        kept: list[Token] = []
        for token in tokens:
            if kept or token.frame > self.last_frame:
                kept.append(token)
            elif token.id in expected:
                del expected[: expected.index(token.id) + 1]
            elif token.frame >= self.end_frame or not expected:
                kept.append(token)
        return kept


NOTHING_SAID = Echo(0)


def before(tokens: Sequence[Token], end_frame: int, begins_word: Callable[[int], bool]) -> int:
    """How many of the tokens belong to what was said before `end_frame`; a word that is said there is finished."""
    count = sum(token.frame < end_frame for token in tokens)
    while 0 < count < len(tokens) and not begins_word(tokens[count].id):
        if tokens[count].frame - tokens[count - 1].frame > WITHIN_A_WORD:
            break
        count += 1
    return count


def words(
    tokens: Sequence[Token],
    text: Callable[[Sequence[int]], str],
    begins_word: Callable[[int], bool],
    frame_samples: int,
) -> tuple[Word, ...]:
    """The tokens' words: from the first token's frame to the last one's end, as sure as the least sure token."""
    groups: list[list[Token]] = []
    for token in tokens:
        if not groups or begins_word(token.id):
            groups.append([])
        groups[-1].append(token)
    return tuple(
        Word(
            spelled,
            group[0].frame * frame_samples,
            (group[-1].frame + 1) * frame_samples,
            min((token.confidence for token in group if token.confidence is not None), default=None),
        )
        for group in groups
        if (spelled := text([token.id for token in group]).strip())
    )
