"""What each slot has evaluated, and how little of a prompt is left to evaluate."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from .context import Context

# Openings kept in host memory, each as large as its tokens' keys and values.
MOST_OPENINGS = 8
# Of a model that cannot go back: states kept of each slot.
MOST_MARKS = 2
# What a token does not go on from the one before with: white space, and the marks of all templates that we know.
BREAKS = (b" ", b"\n", b"<", b"[")


@dataclass(slots=True)
class Mark:
    """The state of a model that cannot go back, after so many tokens."""

    position: int
    state: bytes


@dataclass(slots=True)
class Evaluated:
    """A slot's sequence: for each token what it says."""

    pieces: list[bytes] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Opening:
    pieces: tuple[bytes, ...]
    state: bytes


@dataclass(slots=True)
class Plan:
    """What is left of a prompt; after `opening_tokens` of the sequence's tokens, if any, its opening is to be kept."""

    pending: list[int]
    cached: int
    opening: bytes = b""
    opening_tokens: int = 0


class Memory:
    """One thread's."""

    def __init__(self, context: Context, slots: int) -> None:
        self.context = context
        self._weights = context.weights
        self._slots = [Evaluated() for _ in range(slots)]
        self._openings: OrderedDict[bytes, Opening] = OrderedDict()

    def position(self, slot: int) -> int:
        return len(self._slots[slot].pieces)

    def begin(self, slot: int, text: bytes, opening: bytes) -> Plan:
        """Makes the slot's sequence a beginning of the prompt `text`, the longest that can be had."""
        known = self._slots[slot].text
        if not text.startswith(known):
            # White space at the end of an answer may be missing from the history that a caller sends.
            known = known.rstrip()
        if not known or known == text or not text.startswith(known):
            known = self._divert(slot, text)
        position = self.position(slot)
        plan = Plan(self._weights.tokens(text[len(known) :], first=not position), position)
        if not position and opening and text.startswith(opening):
            begun = self._weights.tokens(opening, first=True)
            plan.pending = begun + self._weights.tokens(text[len(opening) :], first=False)
            plan.opening, plan.opening_tokens = opening, len(begun)
        self._mark(slot)
        return plan

    def evaluated(self, slot: int, tokens: list[int], plan: Plan | None = None) -> None:
        """The slot has evaluated these: a part of the `plan`, or else a token of the answer."""
        sequence = self._slots[slot]
        # In an answer the model's own marks say nothing, nor are they in the history that comes back.
        sequence.pieces += [self._weights.piece(token, marks=plan is not None) for token in tokens]
        if plan and plan.opening and len(sequence.pieces) == plan.opening_tokens:
            self.keep(slot, plan.opening)
        if plan and not plan.pending:
            self._mark(slot)

    def keep(self, slot: int, opening: bytes) -> None:
        """Keeps what the slot has evaluated for conversations that begin with `opening`."""
        self._openings[opening] = Opening(tuple(self._slots[slot].pieces), self.context.saved(slot))
        if len(self._openings) > MOST_OPENINGS:
            self._openings.popitem(last=False)

    def clear(self, slot: int) -> None:
        self.context.forget(slot)
        self._slots[slot] = Evaluated()

    def _divert(self, slot: int, text: bytes) -> bytes:
        """Goes back to where the slot's sequence and the prompt part, or begins with a kept opening.

        Returns the evaluated beginning of `text`. At least one token is left: what comes next is asked of the last one.
        """
        kept = max((opening for opening in self._openings if text.startswith(opening)), key=len, default=b"")
        position, shared = _parting(self._slots[slot].pieces, text)
        if shared > len(kept) and self._back_to(slot, position):
            return self._slots[slot].text
        self.clear(slot)
        if kept and len(kept) < len(text) and self.context.restore(slot, self._openings[kept].state):
            self._openings.move_to_end(kept)
            self._slots[slot].pieces = list(self._openings[kept].pieces)
            return kept
        return b""

    def _back_to(self, slot: int, position: int) -> bool:
        """Takes the slot's sequence back to at most `position` tokens; False when it cannot be."""
        sequence = self._slots[slot]
        if position == len(sequence.pieces):
            return True
        if not self._weights.can_go_back:
            mark = next((mark for mark in reversed(sequence.marks) if mark.position <= position), None)
            if mark is None or not self.context.restore(slot, mark.state, partial=True):
                return False
            position = mark.position
        if not self.context.forget(slot, position):
            return False
        del sequence.pieces[position:]
        sequence.marks = [mark for mark in sequence.marks if mark.position <= position]
        return True

    def _mark(self, slot: int) -> None:
        sequence = self._slots[slot]
        position = len(sequence.pieces)
        if self._weights.can_go_back or not position or position in {mark.position for mark in sequence.marks}:
            return
        marks = [*sequence.marks, Mark(position, self.context.saved(slot, partial=True))]
        sequence.marks = marks[-MOST_MARKS:]


def common_length(one: bytes, other: bytes) -> int:
    """How much of the two is the same."""
    return bisect_left(range(min(len(one), len(other))), True, key=lambda size: one[: size + 1] != other[: size + 1])


def _parting(pieces: Sequence[bytes], text: bytes) -> tuple[int, int]:
    """After how many of the pieces, and bytes, another text can go on: not in the middle of a word or a mark."""
    common = common_length(b"".join(pieces), text)
    ends = [0, *accumulate(map(len, pieces))]
    position = bisect_right(ends, min(common, len(text) - 1)) - 1
    while position and not text[ends[position] :].startswith(BREAKS):
        position -= 1
    return position, ends[position]
