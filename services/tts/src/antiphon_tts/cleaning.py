"""What of a written segment can be said: signs that are only for the eye go, and each word keeps its place.

Numbers, dates, money and units are left alone: reading those is the model's own business.
"""

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from .segments import Cut, ending


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it was written, with the signs around it, and its tokens' numbers in `Line.tokens`."""

    text: str
    tokens: range


@dataclass(frozen=True, slots=True)
class Line:
    """What is to be said, the written words that it says, and what it ends. Without words there is nothing to say."""

    text: str
    words: tuple[Word, ...]
    end: Cut = Cut.NONE

    @property
    def tokens(self) -> list[str]:
        """`text` at its white space."""
        return self.text.split()


def _host(match: re.Match[str]) -> str:
    return " " + match["host"].removeprefix("www.").replace(".", " dot ").replace("-", " dash ") + " "


def _mail(match: re.Match[str]) -> str:
    return match[0].replace("@", " at ").replace(".", " dot ").replace("_", " underscore ")


# A pattern and what it becomes; an int keeps that group, character by character.
RULES: tuple[tuple[re.Pattern[str], str | int | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?:```|~~~)(?:[\w+-]*(?=\n))?"), " "),
    (re.compile(r"!?\[([^\]\n]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"\n]*\")?\)"), 1),
    (re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>"), 1),
    (re.compile(r"<!--.*?(?:-->|\Z)|</?(?:br|p|div|li|ul|ol|h[1-6]|tr|td|th)\b[^<>]*>", re.S | re.I), " "),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"&(?:[A-Za-z]{2,8}|#\d{1,6}|#x[\da-fA-F]{1,5});"), lambda match: html.unescape(match[0])),
    (re.compile(r"(?:https?://|(?=www\.))(?P<host>[\w.-]*\w)(?::\d+)?(?:[/?#][^\s<>\"]*[\w/=#&-])?", re.I), _host),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _mail),
    (re.compile(r"\b\d+(?:\.\d+){2,}\b"), lambda match: match[0].replace(".", " dot ")),
    (re.compile(r"\b24/7\b"), "24 7"),
    (re.compile(r"^[ \t]*(?:[-*_][ \t]*){3,}$|^[ \t]*\|?[ \t:|-]*-[ \t:|-]*$", re.M), ""),
    (re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+)+", re.M), ""),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!-])"), 1),
    (re.compile(r"(?<=\d)\s*\*\s*(?=\d)"), " times "),
    (re.compile(r"\*+|`+|~~+|(?<!\w)_+|_+(?!\w)"), ""),
    (re.compile(r"[\[\]{}|•_\\]"), " "),
)


class _Traced:
    """A text that remembers where each of its characters came from."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.origins = list(range(len(text)))

    def substitute(self, pattern: re.Pattern[str], new: str | int | Callable[[re.Match[str]], str]) -> None:
        pieces: list[str] = []
        origins: list[int] = []
        at = 0
        for match in pattern.finditer(self.text):
            if match.start() == match.end():
                continue
            pieces.append(self.text[at : match.start()])
            origins += self.origins[at : match.start()]
            if isinstance(new, int):
                pieces.append(match[new])
                origins += self.origins[match.start(new) : match.end(new)]
            else:
                pieces.append(new if isinstance(new, str) else new(match))
                origins += [self.origins[match.start()]] * len(pieces[-1])
            at = match.end()
        if at:
            self.text = "".join((*pieces, self.text[at:]))
            self.origins = origins + self.origins[at:]

    def drop_signs(self) -> None:
        """Emoji, controls and private characters; white space and controls of lines become spaces."""
        kept = [(said, at) for char, at in zip(self.text, self.origins, strict=True) if (said := _said(char))]
        self.text = "".join(char for char, _ in kept)
        self.origins = [at for _, at in kept]


def _said(char: str) -> str:
    kind = unicodedata.category(char)
    if char.isspace() or kind == "Cc" or "←" <= char <= "⇿":
        return " "
    if char != "°" and (
        kind in ("So", "Cf", "Cs", "Co", "Cn") or "\U0001f3fb" <= char <= "\U0001f3ff" or "\ufe00" <= char <= "\ufe0f"
    ):
        return ""
    return char


def clean(text: str) -> Line:
    """The sayable part of a segment. Written words that say nothing are kept with the word before them."""
    traced = _Traced(text)
    for pattern, new in RULES:
        traced.substitute(pattern, new)
    traced.drop_signs()
    tokens = list(re.finditer(r"\S+", traced.text))
    voiced = [any(map(str.isalnum, token.group())) for token in tokens]
    if not any(voiced):
        return Line("", ())
    origins = [traced.origins[token.start()] for token in tokens]
    return Line(" ".join(token.group() for token in tokens), tuple(_words(text, origins, voiced)), ending(text))


def _words(text: str, origins: list[int], voiced: list[bool]) -> list[Word]:
    """Written words, each from the first of its tokens to the next word's first."""
    written = list(re.finditer(r"\S+", text))
    starts = [match.start() for match in written]
    owners = [max(0, bisect_right(starts, origin) - 1) for origin in origins]
    heads = sorted({owner for owner, loud in zip(owners, voiced, strict=True) if loud})
    words = []
    for number, head in enumerate(heads):
        after = heads[number + 1] if number + 1 < len(heads) else len(written)
        first = 0 if number == 0 else head
        mine = [index for index, owner in enumerate(owners) if first <= owner < after]
        said = " ".join(match.group() for match in written[first:after])
        words.append(Word(said, range(mine[0], mine[-1] + 1)))
    return words
