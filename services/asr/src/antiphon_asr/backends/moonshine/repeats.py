"""Words that the model repeats although they were said once.

A small autoregressive decoder may begin a sentence again when noise follows it, and gives "How many? How many?" for one
question. A caller may also say a thing twice. The audio decides: a repetition is believed when each part of the clip,
decoded alone, has its copies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
# Decodes a clip; None when it gave up.
Decode = Callable[[Samples], str | None]

# Shorter repetitions are ordinary speech: "no, no", "very, very", "five five five". With many copies, two words do.
LEAST_WORDS, LEAST_WORDS_OF_MANY = 3, 2
MANY = 3
LONGEST_UNIT = 40
# A copy that the token limit cut off counts from so many words.
LEAST_CUT_OFF = 3
# Decoded again in a part of the clip, a text is not quite the same: so much of it must agree.
ALIKE = 0.6
# Parts of parts that are decoded in turn: four copies are told apart.
DEPTH = 2
FRAME = 160
QUIET_FRAMES = 10
# How far from its expected place the gap between two copies is looked for, as a share of the clip.
SEARCH = 0.2
SHORTEST_PART = 4000


@dataclass(frozen=True, slots=True)
class Repeat:
    """`copies` of a run of `length` words from word `start`, of which the last may be incomplete, up to word `end`."""

    start: int
    length: int
    copies: int
    end: int


def find_repeat(words: list[str]) -> Repeat | None:
    """The longest run of copies, in its shortest unit. Words are compared without case and punctuation."""
    bare = [_bare(word) for word in words]
    found: Repeat | None = None
    for length in range(LEAST_WORDS_OF_MANY, min(LONGEST_UNIT, len(bare) - 1) + 1):
        for start in range(len(bare) - length):
            repeat = _repeat_at(bare, start, length)
            if repeat and (found is None or repeat.end - repeat.start > found.end - found.start):
                found = repeat
    return found


def text_without_loops(samples: Samples, decode: Decode, depth: int = DEPTH) -> str | None:
    """The text of a clip, in which nothing is repeated that its audio does not repeat; None when `decode` gave up."""
    text = decode(samples)
    words = text.split() if text else []
    repeat = find_repeat(words)
    if repeat is None or depth == 0:
        return text
    said = _is_said(samples, words, repeat, decode, depth)
    if said is None:
        return None
    return text if said else " ".join(words[: repeat.start + repeat.length] + words[repeat.end :])


def _is_said(samples: Samples, words: list[str], repeat: Repeat, decode: Decode, depth: int) -> bool | None:
    """Return True if both halves, cut between two copies, contain their copies; None if `decode` gave up."""
    middle = repeat.start + repeat.length * max(1, repeat.copies // 2)
    cut = _gap_near(samples, middle / len(words))
    parts = samples[:cut], samples[cut:]
    if min(map(len, parts)) < SHORTEST_PART:
        return False
    for part, expected in zip(parts, (words[:middle], words[middle:]), strict=True):
        heard = text_without_loops(part, decode, depth - 1)
        if heard is None:
            return None
        if not _alike(heard.split(), expected):
            return False
    return True


def _repeat_at(bare: list[str], start: int, length: int) -> Repeat | None:
    unit = bare[start : start + length]
    end, copies = start + length, 1
    while bare[end : end + length] == unit:
        end, copies = end + length, copies + 1
    rest = bare[end:]
    is_cut_off = 0 < len(rest) < length and rest == unit[: len(rest)]
    if is_cut_off and (len(rest) >= LEAST_CUT_OFF or copies >= MANY):
        end, copies = len(bare), copies + 1
    least = LEAST_WORDS_OF_MANY if copies >= MANY else LEAST_WORDS
    return Repeat(start, length, copies, end) if copies > 1 and length >= least else None


def _gap_near(samples: Samples, share: float) -> int:
    """The middle of the quietest 100 ms near `share` of the clip's speech."""
    count = len(samples) // FRAME
    if count <= QUIET_FRAMES:
        return 0
    energy = np.square(samples[: count * FRAME].reshape(count, FRAME)).sum(axis=1)
    smooth = np.convolve(energy, np.ones(QUIET_FRAMES), "valid")
    first = min(len(smooth) - 1, max(0, round((share - SEARCH) * count) - QUIET_FRAMES // 2))
    last = min(len(smooth), max(first + 1, round((share + SEARCH) * count) - QUIET_FRAMES // 2))
    return (first + int(smooth[first:last].argmin()) + QUIET_FRAMES // 2) * FRAME


def _alike(heard: list[str], expected: list[str]) -> bool:
    matcher = SequenceMatcher(None, [_bare(word) for word in heard], [_bare(word) for word in expected], autojunk=False)
    return matcher.ratio() >= ALIKE


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold()))
