"""Numbers, dates, money and abbreviations written out, by NVIDIA's grammars (nemo_text_processing)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antiphon_runtime.errors import ConfigError

from ...abbreviations import ABBREVIATIONS
from .settings import PREFIX

log = logging.getLogger(__name__)

Normalizer = Callable[[str], str]

# What grammars leave alone besides letters, and a stop at the very end. Composing a grammar with a text costs 10 to
# 120 ms, which is heard before the first word.
PLAIN_MARKS = frozenset(" ,;:!?'’\"“”()…-")
# Longer texts are passed on as they are: the time taken grows with the length, and in the worst case faster.
MOST_CHARS = 600


def load_normalizer(language: str, cache_dir: Path) -> Normalizer | None:
    """What writes a language's numbers out, None where there are no grammars for it.

    Its grammars are compiled into `cache_dir` where they are not there, which takes half a minute. Raises ConfigError
    when the library is missing.
    """
    try:
        from nemo_text_processing.text_normalization.normalize import Normalizer as Grammars
    except ImportError as error:
        raise ConfigError(
            f"{PREFIX}NORMALIZE needs nemo_text_processing, of pip install 'antiphon-tts[magpie]': {error}"
        ) from error
    try:
        grammars = Grammars(input_case="cased", lang=language, cache_dir=_writable(cache_dir))
    except NotImplementedError:  # how the library says that it has none for this language
        log.warning("no grammars for %r: its numbers are read as they are written", language)
        return None
    return guarded(lambda text: grammars.normalize(text, verbose=False, punct_post_process=True))


def guarded(normalize: Callable[[str], Any]) -> Normalizer:
    """`normalize` for texts that need it, and that it can be trusted with; a text that it fails on stays as it is."""

    def normalized(text: str) -> str:
        if len(text) > MOST_CHARS or is_plain(text):
            return text
        try:
            return str(normalize(text)).strip() or text
        except Exception as error:  # of whatever kind: a caller must still be answered
            log.warning("a text could not be normalized", exc_info=error)
            return text

    return normalized


def is_plain(text: str) -> bool:
    """Whether there is nothing to be written out."""
    body = text.removesuffix(".")
    if not all(char.isalpha() or char in PLAIN_MARKS for char in body):
        return False
    last = body.lower().rpartition(" ")[2]
    return body == text or last not in ABBREVIATIONS


def _writable(folder: Path) -> str | None:
    """The folder for a library that wants one, None when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
    except OSError as error:
        log.warning("grammars are not kept in %s: %s", folder, error)
        return None
    return str(folder)
