"""Cuts a reply's text, which arrives in pieces of any size, into the segments that are spoken one by one.

The cuts depend on the text and on where it is flushed, never on how it was cut into pieces: a mark at the end of
the buffer waits for the characters that decide it. Joined again, the segments are the text.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from .abbreviations import ABBREVIATIONS, PHRASE_STARTS, STARTERS, TRAILING_ABBREVIATIONS

CLOSERS = "\"'”’»)\\]}*_`"
MARK = re.compile(
    rf"(?P<line>\n)|(?P<wide>[。！？]+[」』）{CLOSERS}]*)|(?P<pause>[，、；：—][」』）{CLOSERS}]*)"
    rf"|(?P<stop>[.!?…]+[{CLOSERS}]*)|(?P<comma>[,;:][{CLOSERS}]*)"
)
TOKEN = re.compile(r"\S+")
OPEN_TAG = re.compile(r"<[A-Za-z/!][^<>\n]*\Z")
INITIALS = re.compile(r"(?:[a-z]\.)+[a-z]", re.IGNORECASE)
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class Cut(Enum):
    """What a place in the text is: an end of some kind, none, or not known before more text comes."""

    SENTENCE = auto()
    CLAUSE = auto()
    NONE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of segments. A segment never has more than `max_chars` characters."""

    first_min_words: int = 3
    first_max_words: int = 8
    max_chars: int = 200


def count_words(text: str) -> int:
    """Words in `text`; two characters of a script that has no spaces count as one."""
    count = 0
    for token in TOKEN.findall(text):
        if any(map(str.isalnum, token)):
            count += max(1, len(CJK.findall(token)) // 2)
    return count


def ending(text: str) -> Cut:
    """How a whole segment ends: what kind of pause belongs after it."""
    marks = list(MARK.finditer(text))
    if not marks or text[marks[-1].end() :].strip():
        return Cut.NONE
    last = marks[-1]
    return Cut.SENTENCE if last.lastgroup in ("line", "wide", "stop") else Cut.CLAUSE


class Segmenter:
    """Text in, segments out. The first segment is short, so that speech begins early; later ones are sentences.

    `whole` holds everything until it is flushed, and then gives sentences only.
    """

    def __init__(self, limits: Limits, *, whole: bool = False) -> None:
        self._limits = limits
        self._whole = whole
        self._text = ""
        self._first = not whole
        self._line_start = True

    def feed(self, text: str) -> list[str]:
        """The segments that are complete now."""
        self._text += text
        return [] if self._whole else self._take(final=False)

    def flush(self) -> list[str]:
        """The rest, cut as if the text ended here."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[str]:
        taken = []
        while self._text and (end := self._end(final=final)):
            segment, self._text = self._text[:end], self._text[end:]
            self._first = self._first and not count_words(segment)
            self._line_start = segment.endswith("\n") or (self._line_start and not segment.strip())
            taken.append(segment)
        return taken

    def _end(self, *, final: bool) -> int:
        """Where the next segment ends, 0 while that is not known."""
        limit = self._limit()
        last_clause = 0
        for mark in MARK.finditer(self._text):
            if limit and mark.end() > limit:
                break
            match self._judge(mark, final=final):
                case Cut.UNKNOWN:
                    return 0
                case Cut.SENTENCE if count_words(self._text[: mark.end()]):
                    return mark.end()
                case Cut.CLAUSE:
                    words = count_words(self._text[: mark.end()])
                    if self._first and words >= self._limits.first_min_words:
                        return mark.end()
                    last_clause = mark.end() if words else 0
        if limit:
            return self._forced(limit, last_clause)
        return len(self._text) if final else 0

    def _limit(self) -> int:
        """The place beyond which no segment may go, 0 while the text does not reach it."""
        limit = self._limits.max_chars if len(self._text) > self._limits.max_chars else 0
        if not self._first:
            return limit
        words = 0
        for token in TOKEN.finditer(self._text[: self._limits.max_chars]):
            if token.end() == len(self._text):
                break
            words += count_words(token.group())
            if words >= self._limits.first_max_words:
                return token.end()
        return limit

    def _forced(self, limit: int, last_clause: int) -> int:
        """The best cut up to `limit` where no mark gives one: after a clause, else before a phrase, else a word."""
        if last_clause:
            return last_clause
        text = self._text[:limit]
        starts = [token.start() for token in TOKEN.finditer(text) if token.group().lower() in PHRASE_STARTS]
        for start in reversed(starts if self._first else []):
            if count_words(text[:start]) >= self._limits.first_min_words:
                return len(text[:start].rstrip())
        if self._text[limit : limit + 1].isspace():
            return limit
        space = max(text.rfind(" "), text.rfind("\t"))
        return space if space > 0 and text[:space].strip() else limit

    def _judge(self, mark: re.Match[str], *, final: bool) -> Cut:
        text, end = self._text, mark.end()
        if mark.lastgroup == "line":
            return Cut.SENTENCE
        if end == len(text):
            return (
                {"wide": Cut.SENTENCE, "stop": Cut.SENTENCE}.get(mark.lastgroup or "", Cut.CLAUSE)
                if final
                else Cut.UNKNOWN
            )
        if OPEN_TAG.search(text, 0, mark.start()):
            return Cut.NONE
        match mark.lastgroup:
            case "wide":
                return Cut.SENTENCE
            case "pause":
                return Cut.CLAUSE
            case _ if not text[end].isspace():
                return Cut.NONE
            case "comma":
                return Cut.CLAUSE
        return self._judge_stop(mark, final=final)

    def _judge_stop(self, mark: re.Match[str], *, final: bool) -> Cut:
        """A full stop, a question or exclamation mark or an ellipsis, with white space after it."""
        stops = mark.group().rstrip(CLOSERS.replace("\\", ""))
        if "!" in stops or "?" in stops:
            return Cut.SENTENCE
        before = self._text[: mark.start()]
        token = (before.split() or [""])[-1].lstrip("(\"“'‘[*_")
        word = token.lower()
        if stops == "." and (word in ABBREVIATIONS or self._enumerates(before) or _initial(token)):
            return Cut.NONE
        initials = INITIALS.fullmatch(token) is not None
        if stops == "." and not (word in TRAILING_ABBREVIATIONS or word == "no" or initials):
            return Cut.SENTENCE
        return self._judge_by_next(self._text[mark.end() :], stops, word, final=final)

    def _judge_by_next(self, after: str, stops: str, word: str, *, final: bool) -> Cut:
        """A stop whose meaning the next word decides."""
        found = TOKEN.search(after)
        if "\n" in after[: found.start() if found else None]:
            return Cut.SENTENCE
        if found is None:
            return Cut.SENTENCE if final else Cut.UNKNOWN
        start = found.group().lstrip("(\"“'‘[*_")
        if found.end() == len(after) and not final and (not start or INITIALS.fullmatch(word)):
            return Cut.UNKNOWN
        if stops != ".":
            return Cut.CLAUSE if start[:1].islower() else Cut.SENTENCE
        if word == "no":
            return Cut.NONE if start[:1].isdigit() else Cut.SENTENCE
        if word in TRAILING_ABBREVIATIONS:
            return Cut.SENTENCE if start[:1].isupper() else Cut.NONE
        capital = start[:1].isupper() and re.split(r"\W", start, maxsplit=1)[0].lower() in STARTERS
        return Cut.SENTENCE if capital else Cut.NONE

    def _enumerates(self, before: str) -> bool:
        """Whether a full stop after `before` belongs to a list's number ("1. First")."""
        return self._line_start and re.fullmatch(r"\s*\d{1,2}", before) is not None


def _initial(token: str) -> bool:
    return len(token) == 1 and token.isupper() and token != "I"
