"""What a turn's words say about whether more will follow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Ending(StrEnum):
    """How a text ends: the ones that are held open are named for what they wait for."""

    PLAIN = "plain"
    QUESTION = "question"
    CONJUNCTION = "conjunction"
    FILLER = "filler"
    NUMBER = "number"

    @property
    def unfinished(self) -> bool:
        return self in (Ending.CONJUNCTION, Ending.FILLER, Ending.NUMBER)


@dataclass(frozen=True, slots=True)
class Language:
    """One language's words, in lower case.

    `joins` are never a sentence's last, `leads` only a question's ("what are you looking for"); `fillers` and `openers`
    are phrases after which more comes; `asks` begin a question; `digits` are spoken ones, `lengths` are how many of
    them a whole number has. `back_channels` are what a listener says without wanting to speak.
    """

    joins: frozenset[str]
    leads: frozenset[str]
    fillers: tuple[str, ...]
    asks: frozenset[str]
    digits: frozenset[str]
    openers: tuple[str, ...] = ()
    back_channels: tuple[str, ...] = ()
    lengths: frozenset[int] = field(default=frozenset({1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = Language(
    joins=_words(
        "and or but because if although while unless until than whether a an the my your his our their its i'm i'll "
        "i'd i've he's she's we're they're very from into between per every double triple"
    ),
    leads=_words(
        "to of for with at is are was were am be been have has can could will would should i we want need that's "
        "point dash dot"
    ),
    fillers=("um", "uh", "ah", "er", "erm", "hmm", "let me see", "let's see", "let me think", "you know", "i mean"),
    openers=("tell me",),
    asks=_words(
        "what what's who who's where where's when when's why how how's which can could would will do does did is are "
        "was were have has may should"
    ),
    digits=_words("oh zero one two three four five six seven eight nine"),
    back_channels=(
        "uh-huh",
        "uh huh",
        "mm-hmm",
        "mm hmm",
        "mhm",
        "mm",
        "hmm",
        "hm",
        "uh",
        "um",
        "ah",
        "oh",
        "right",
        "okay",
        "ok",
        "yeah",
        "yep",
        "yes",
        "sure",
        "i see",
        "got it",
        "all right",
        "alright",
        "good",
        "great",
        "nice",
        "cool",
        "wow",
        "really",
        "of course",
        "exactly",
        "true",
        "makes sense",
        "thanks",
        "thank you",
    ),
)
GERMAN = Language(
    joins=_words(
        "und oder aber weil wenn ob obwohl während sondern ein eine einen einem einer mein meine "
        "meinen dein deine unser unsere im am zum zur vom von bei für"
    ),
    leads=_words("ist sind war hat habe kann könnte will würde möchte ich wir mit nach in auf"),
    fillers=("äh", "ähm", "öh", "hm", "mal sehen", "moment mal", "sozusagen", "ich meine"),
    asks=_words("was wer wo wann warum wie wieso welche welcher welches kann können könnte ist sind hat haben gibt"),
    digits=_words("null eins zwei zwo drei vier fünf sechs sieben acht neun"),
    back_channels=(
        "mhm",
        "hm",
        "hmm",
        "ah",
        "aha",
        "oh",
        "ja",
        "jaja",
        "okay",
        "ok",
        "genau",
        "gut",
        "alles klar",
        "verstehe",
        "ach so",
        "stimmt",
        "richtig",
        "klar",
        "super",
        "schön",
        "danke",
    ),
)
SPANISH = Language(
    joins=_words(
        "y o pero porque si aunque mientras que el la los las un una unos unas mi tu su nuestro de del al muy"
    ),
    leads=_words("para con en a es son está están tengo quiero puedo por"),
    fillers=("eh", "em", "este", "pues", "a ver", "o sea", "déjame ver"),
    asks=_words("qué quién dónde cuándo cómo cuál cuánto cuánta puede puedes tiene tienen es hay"),
    digits=_words("cero uno dos tres cuatro cinco seis siete ocho nueve"),
    back_channels=(
        "mhm",
        "ajá",
        "ah",
        "oh",
        "sí",
        "vale",
        "ok",
        "okay",
        "claro",
        "bien",
        "ya",
        "ya veo",
        "entiendo",
        "de acuerdo",
        "perfecto",
        "exacto",
        "gracias",
    ),
)
FRENCH = Language(
    joins=_words("et ou mais parce que si quand le la les un une des mon ma mes ton ta votre notre de du au aux très"),
    leads=_words("pour avec à dans est sont suis ai je chez sur"),
    fillers=("euh", "ben", "bah", "hum", "voyons", "tu vois", "je veux dire"),
    asks=_words("quoi qui où quand comment pourquoi quel quelle combien est-ce peux pouvez"),
    digits=_words("zéro un deux trois quatre cinq six sept huit neuf"),
    back_channels=(
        "mhm",
        "hum",
        "ah",
        "oh",
        "oui",
        "ouais",
        "ok",
        "okay",
        "d'accord",
        "bien",
        "très bien",
        "je vois",
        "je comprends",
        "bien sûr",
        "exactement",
        "voilà",
        "merci",
    ),
)
LANGUAGES: Mapping[str, Language] = {"en": ENGLISH, "de": GERMAN, "es": SPANISH, "fr": FRENCH}

# Fewer in a row may be a quantity ("two", "twenty five").
LEAST_DIGITS = 3
TRAILING_OFF = re.compile(r"(…|\.\.\.|[,;:–—-])['\"”’»)]*\s*$")
ASKED = re.compile(r"[?？]['\"”’»)]*\s*$")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def ending(text: str, language: str = "") -> Ending:
    """How the text of a turn ends so far.

    `language` is a BCP 47 tag, English when empty. Of a language without a table only the punctuation is read.
    """
    asked = ASKED.search(text)
    known, words = _known(language), spoken_words(text)
    if known and words:
        asks = bool(asked) or (words[0] in known.asks and len(words) > 2)
        if (hanging := _hanging(words, known, asks)) is not None:
            return hanging
        if asks:
            return Ending.QUESTION
    if asked:
        return Ending.QUESTION
    return Ending.CONJUNCTION if TRAILING_OFF.search(text) else Ending.PLAIN


def is_back_channel(text: str, language: str = "", *, unfinished: bool = False) -> bool:
    """Whether the text is nothing but what a listener says, in any number and order ("yeah, right").

    `language` as in `ending`; in a language without a table nothing is. Of an `unfinished` text the end may be cut off
    ("oka", "I").
    """
    known, words = _known(language), spoken_words(text)
    phrases = [phrase.split() for phrase in known.back_channels] if known else []
    rest = words
    while rest:
        length = max((len(phrase) for phrase in phrases if rest[: len(phrase)] == phrase), default=0)
        if not length:
            return unfinished and any(" ".join(phrase).startswith(" ".join(rest)) for phrase in phrases)
        rest = rest[length:]
    return bool(words)


def spoken_words(text: str) -> list[str]:
    """The words in lower case, without punctuation."""
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]


def _known(language: str) -> Language | None:
    return LANGUAGES.get((language or "en").partition("-")[0].lower())


def _hanging(words: list[str], known: Language, asks: bool) -> Ending | None:
    """What the last words wait for, None when they may be the last ones."""
    tail = " " + " ".join(words)
    if tail.endswith(tuple(f" {filler}" for filler in known.fillers)):
        return Ending.FILLER
    if words[-1] in known.joins or (words[-1] in known.leads and not asks):
        return Ending.CONJUNCTION
    if tail.endswith(tuple(f" {opener}" for opener in known.openers)):
        return Ending.CONJUNCTION
    digits = _trailing_digits(words, known)
    if digits >= LEAST_DIGITS and digits not in known.lengths:
        return Ending.NUMBER
    return None


def _trailing_digits(words: list[str], known: Language) -> int:
    """How many digits in a row the text ends with, spoken or written ("five five 5 1" has four)."""
    count = 0
    for word in reversed(words):
        if word in known.digits:
            count += 1
        elif word.replace("-", "").isdigit():
            count += len(word.replace("-", ""))
        else:
            break
    return count
