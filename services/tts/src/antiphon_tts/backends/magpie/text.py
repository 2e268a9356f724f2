"""What the model reads of a written line: numbers written out, tokens by language, and whose word they are."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from antiphon_runtime.errors import ConfigError

from ...cleaning import Line
from .normalizing import Normalizer, load_normalizer
from .settings import PREFIX

log = logging.getLogger(__name__)

Encode = Callable[[str, str], Sequence[int]]

# The languages of Magpie as NeMo has them (tts_dataset_utils.py, LANGUAGE_TOKENIZER_MAP), as callers name them.
TAGS = {
    "en": "en-US",
    "de": "de-DE",
    "es": "es-ES",
    "fr": "fr-FR",
    "it": "it-IT",
    "vi": "vi-VN",
    "zh": "zh-CN",
    "hi": "hi-IN",
    "ja": "ja-JP",
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one generation reads. `tokens` end with the end of the text; `words` are read words with their tokens.

    Word ranges are in order, do not overlap and lie inside the tokens before the last.
    """

    tokens: tuple[int, ...]
    words: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Language:
    """How a language is read: NeMo's name of its tokenizer, and what writes numbers out, None for nothing."""

    tokenizer: str
    normalize: Normalizer | None = None
    # NeMo's Japanese normalizer and tokenizer want no spaces (magpietts.py, do_tts).
    spaced: bool = True


class Reader:
    """Reads lines for a model. `encode` gives the tokens of a text by a named tokenizer; used by one thread."""

    def __init__(self, encode: Encode, end: int, languages: Mapping[str, Language], most_tokens: int) -> None:
        self._encode = encode
        self._end = end
        self._languages = languages
        self._most_tokens = most_tokens
        self.languages = tuple(languages)

    def read(self, line: Line, language: str) -> list[Part]:
        """The line in parts of no more than `most_tokens` tokens; none when there is nothing that can be read."""
        how = self._languages[language]
        text = line.text if how.spaced else "".join(line.text.split())
        if how.normalize:
            text = how.normalize(text)
        # What has no token of its own would only leave its spaces.
        return list(self._parts([word for word in text.split() if self._tokens(word, how)], how))

    def _parts(self, words: Sequence[str], how: Language) -> Iterator[Part]:
        if not words:
            return
        tokens = self._tokens((" " if how.spaced else "").join(words), how)
        if len(tokens) < self._most_tokens:
            yield Part((*tokens, self._end), tuple(self._placed(words, len(tokens), how)))
            return
        # Words, and within a single one its characters.
        pieces: Sequence[str] = words if len(words) > 1 else words[0]
        half = len(pieces) // 2
        for side in (pieces[:half], pieces[half:]):
            yield from self._parts([side] if isinstance(side, str) else side, how)

    def _tokens(self, text: str, how: Language) -> list[int]:
        """The text's tokens, without those characters that the tokenizer fails on."""
        try:
            return list(self._encode(text, how.tokenizer))
        except Exception as error:  # tokenizers raise whatever the library beneath them does
            log.debug("a text is read without the characters that its tokenizer fails on", exc_info=error)
        return list(self._encode("".join(char for char in text if self._readable(char, how)), how.tokenizer))

    def _readable(self, char: str, how: Language) -> bool:
        try:
            self._encode(char, how.tokenizer)
        except Exception:
            return False
        return True

    def _placed(self, words: Sequence[str], count: int, how: Language) -> Iterator[tuple[str, int, int]]:
        """Each word's share of `count` tokens, by how many tokens it has alone, with the space after it."""
        sizes = [len(self._tokens(word, how)) + how.spaced for word in words]
        total = max(1, sum(sizes) - how.spaced)
        edges = [0, *(min(count, round(size * count / total)) for size in accumulate(sizes))]
        yield from zip(words, edges, edges[1:], strict=False)


def make_reader(magpie: Any, *, languages: Sequence[str], most_tokens: int, normalize: bool, cache_dir: Path) -> Reader:
    """The reader of NeMo's model for the languages, BCP-47 tags. Raises ConfigError for one that it has not."""
    from nemo.collections.tts.parts.utils.tts_dataset_utils import LANGUAGE_TOKENIZER_MAP

    available = magpie.tokenizer.tokenizers
    names = {
        TAGS[code]: (code, next(name for name in candidates if name in available))
        for code, candidates in LANGUAGE_TOKENIZER_MAP.items()
        if code in TAGS and any(name in available for name in candidates)
    }
    had = {}
    for tag in languages:
        if tag not in names:
            raise ConfigError(f"{PREFIX}LANGUAGES: {tag} is not one of this model's: {', '.join(names)}")
        code, tokenizer = names[tag]
        normalizer = load_normalizer(code, cache_dir) if normalize else None
        had[tag] = Language(tokenizer, normalizer, spaced=code not in ("ja", "zh"))

    def encode(text: str, tokenizer: str) -> Sequence[int]:
        tokens: Sequence[int] = magpie.tokenizer.encode(text, tokenizer_name=tokenizer)
        return tokens

    return Reader(encode, magpie.eos_id, had, most_tokens)
