"""How well a speech recognizer hears a set of utterances, and how soon: word error rate and time to final.

A file without an answer is a file of which no word was heard. It is never left out.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

from antiphon_runtime.client import Replicas

from ..errors import AsrError, StreamRefused
from ..machine import load_average
from ..stats import Latencies, summarise
from .sets import Spoken, Words
from .stream import MONOTONIC, Answer, Clock, Pace, StreamConfig, effective, transcribe


@dataclass(frozen=True, slots=True)
class Errors:
    """What it takes to make a text of the one that was heard, in words."""

    substitutions: int
    deletions: int
    insertions: int

    @property
    def count(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True, slots=True)
class Row:
    """One file. `words` counts those of the normalised reference; `answer` is None when it failed, for `error`."""

    file: str
    seconds: float
    said: str
    words: int
    errors: Errors
    answer: Answer | None
    error: str
    load_average: float | None


@dataclass(frozen=True, slots=True)
class WerResult:
    """A backend's rows, in the set's order. `config` is the one in effect, as far as the service told."""

    backend: str
    config: StreamConfig
    pace: Pace
    at_once: int
    wall_s: float
    rows: tuple[Row, ...]

    @property
    def words(self) -> int:
        return sum(row.words for row in self.rows)

    @property
    def errors(self) -> Errors:
        """Of all files together."""
        return Errors(
            sum(row.errors.substitutions for row in self.rows),
            sum(row.errors.deletions for row in self.rows),
            sum(row.errors.insertions for row in self.rows),
        )

    @property
    def wer_pct(self) -> float:
        """Errors per 100 words of all references together; over 100 when much was heard that nobody said."""
        return 100 * self.errors.count / self.words

    @property
    def final(self) -> Latencies:
        return summarise([row.answer.final_ms if row.answer else None for row in self.rows])

    @property
    def speech_end(self) -> Latencies:
        return summarise([row.answer.speech_end_ms if row.answer else None for row in self.rows])

    @property
    def failed(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.answer is None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dumps`: the figures and the raw rows."""
        figures = {
            "words": self.words,
            "wer_pct": self.wer_pct,
            "errors": asdict(self.errors),
            "final": asdict(self.final),
            "speech_end": asdict(self.speech_end),
            "failed": len(self.failed),
        }
        return asdict(self) | figures


def normaliser(language: str) -> Words:
    """The words of a text as they are compared.

    English (also when `language` is empty): by OpenAI's rules for Whisper, which write numbers as digits, contractions
    in full and spellings the American way. Other languages: in lower case, without punctuation.
    """
    plain: Callable[[str], str]
    if language.casefold().partition("-")[0] in ("", "en"):
        plain = EnglishTextNormalizer()
    else:
        plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation()])  # type: ignore[no-untyped-call]
    # What has no letter or digit is a mark that the rules have left over, such as "." for "…".
    return lambda text: [word for word in plain(text).split() if any(map(str.isalnum, word))]


def errors_between(said: Sequence[str], heard: Sequence[str]) -> Errors:
    """The fewest edits between the words that were said, at least one, and those that were heard."""
    found = jiwer.process_words(" ".join(said), " ".join(heard))
    return Errors(found.substitutions, found.deletions, found.insertions)


async def transcribe_set(
    replicas: Replicas,
    spoken: Sequence[Spoken],
    config: StreamConfig,
    *,
    backend: str,
    pace: Pace = Pace.REAL,
    at_once: int = 1,
    clock: Clock = MONOTONIC,
    done: Callable[[Row], None] = lambda row: None,
) -> WerResult:
    """Sends every utterance, `at_once` at a time, and calls `done` after each. `backend` is the result's name.

    Raises StreamRefused when no utterance could be sent, because nobody answers or `config` is refused. Later refusals
    are failed rows, and so is every one of a service that is full.
    """
    in_effect = config
    try:
        in_effect = await effective(replicas, config)
    except StreamRefused as refusal:
        if refusal.code != "RESOURCE_EXHAUSTED":
            raise
    words = normaliser(config.language)
    free = asyncio.Semaphore(at_once)

    async def one(utterance: Spoken) -> Row:
        async with free:
            row = await _row(replicas, utterance, config, words, pace, clock)
        done(row)
        return row

    start_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        rows = [tasks.create_task(one(utterance), name=utterance.file) for utterance in spoken]
    wall_s = time.monotonic() - start_s
    return WerResult(backend, in_effect, pace, at_once, wall_s, tuple(row.result() for row in rows))


async def _row(
    replicas: Replicas, utterance: Spoken, config: StreamConfig, words: Words, pace: Pace, clock: Clock
) -> Row:
    answer, why = None, ""
    try:
        answer = await transcribe(replicas, utterance.pcm, config, pace=pace, clock=clock)
    except AsrError as error:
        why = str(error)
    said = words(utterance.said)
    errors = errors_between(said, words(answer.text)) if answer else Errors(0, len(said), 0)
    return Row(
        file=utterance.file,
        seconds=utterance.seconds,
        said=utterance.said,
        words=len(said),
        errors=errors,
        answer=answer,
        error=why,
        load_average=load_average(),
    )
