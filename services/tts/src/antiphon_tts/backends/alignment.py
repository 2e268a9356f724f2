"""When each written word is heard, where reading changed the words."""

from collections.abc import Callable
from difflib import SequenceMatcher

from ..cleaning import Line
from . import Said


def words(line: Line, spans: list[tuple[str, float, float]], place: Callable[[float], int]) -> list[Said]:
    """When each written word is heard: the span of the read words it became."""
    starts, ends = aligned(line.tokens, spans)
    said: list[Said] = []
    for number, word in enumerate(line.words):
        start = place(starts[word.tokens.start]) if number else place(float("-inf"))
        end = place(ends[word.tokens.stop - 1]) if number + 1 < len(line.words) else place(float("inf"))
        start = max(start, said[-1].end if said else 0)
        said.append(Said(word.text, start, max(start, end)))
    return said


def aligned(tokens: list[str], spans: list[tuple[str, float, float]]) -> tuple[list[float], list[float]]:
    """Start and end of each written token; where reading changed the words, the stretch is shared by length."""
    read = [word.strip() for word, _, _ in spans]
    starts, ends, at = [0.0] * len(tokens), [0.0] * len(tokens), 0.0
    for _, a, b, c, d in SequenceMatcher(None, tokens, read, autojunk=False).get_opcodes():
        if d > c:
            begin, at = spans[c][1], spans[d - 1][2]
        else:
            begin = at
        if a == b and a:
            ends[a - 1] = at
        total, stretch = sum(map(len, tokens[a:b])) or 1, at - begin
        for index in range(a, b):
            exact = b - a == d - c
            share = stretch * len(tokens[index]) / total
            starts[index] = spans[c + index - a][1] if exact else begin
            ends[index] = begin = spans[c + index - a][2] if exact else begin + share
    return starts, ends
