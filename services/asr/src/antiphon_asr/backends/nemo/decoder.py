"""One stream on the event loop: which tokens belong to which utterance, and what is said of them.

The live stream's tokens go to the utterance that is open. A finalize is answered with those from before the point where
its copy of the stream went its own way, and the copy's own. A commit begins the next utterance at once; which tokens
that one starts with is known when the commit's copy is done (see Echo).
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from antiphon_runtime.errors import BackendFailed

from .. import Heard, Mode, Pending, Reading, StreamConfig, Word
from .context import Context
from .engine import Engine
from .stream import Flush, Listener, Rank
from .tokens import NOTHING_SAID, Echo, Token, before, words

# Finalized ends whose tokens are kept, should the next finalize end there too.
KEPT_FLUSHES = 8


class Speller(Protocol):
    """Turns tokens into text."""

    def text(self, ids: Sequence[int]) -> str: ...

    def begins_word(self, token: int) -> bool: ...


@dataclass(eq=False, slots=True)
class Utterance:
    """The tokens that the live stream has emitted for it, and perhaps echoes. `known`: where it starts is settled."""

    known: bool = False
    echo: Echo = NOTHING_SAID
    heard: list[Token] = field(default_factory=list)

    def tokens(self) -> list[Token]:
        return self.echo.without(self.heard)

    def tokens_with(self, flush: Flush) -> list[Token]:
        """What was said up to the flush's end."""
        shared = [token for token in self.heard if token.frame < flush.base_frame]
        return self.echo.without([*shared, *flush.tokens])


@dataclass(eq=False, slots=True)
class Question:
    """A finalize that is not answered yet. A commit names the utterance that comes after it."""

    utterance: Utterance
    flush: Flush
    answer: "asyncio.Future[list[Token]]"
    following: Utterance | None = None


class NemoDecoder:
    def __init__(self, engine: Engine, speller: Speller, context: Context, config: StreamConfig) -> None:
        """Raises NoCapacity when the engine takes no more streams."""
        self._engine = engine
        self._speller = speller
        self._config = config
        listener = Listener(self._on_step, self._on_flush, self._on_failure)
        self._stream = engine.open(context, listener, confidence=config.word_confidence)
        self._utterance = Utterance(known=True)
        self._open = self._utterance
        self._questions: list[Question] = []
        self._flushes: OrderedDict[int, Flush] = OrderedDict()
        self._moved = asyncio.Event()
        self._grew = asyncio.Event()
        self._failure: BackendFailed | None = None

    async def push(self, pcm: bytes) -> None:
        self._engine.push(self._stream, np.frombuffer(pcm, "<i2"))
        while self._failure is None and self._engine.behind(self._stream):
            self._moved.clear()
            await self._moved.wait()
        if self._failure:
            raise self._failure

    def read(self, end_sample: int, mode: Mode) -> Pending:
        rank = Rank.COMMIT if mode is Mode.COMMIT else Rank.SPECULATE
        flush, at_hand = self._flush(end_sample, rank)
        question = Question(self._utterance, flush, asyncio.get_running_loop().create_future())
        question.answer.add_done_callback(_retrieved)
        if mode is Mode.COMMIT:
            question.following = self._utterance = Utterance()
            self._flushes.clear()
        self._questions.append(question)
        if self._failure:
            question.answer.set_exception(self._failure)
        else:
            self._answer()

        async def answer() -> Reading:
            tokens = await question.answer
            text = self._speller.text([token.id for token in tokens])
            return Reading(text, self._words(tokens), None if at_hand else flush.began_s)

        return answer

    async def interims(self) -> AsyncIterator[Heard]:
        shown: tuple[Utterance, int] = (self._utterance, 0)
        while True:
            await self._grew.wait()
            self._grew.clear()
            if self._failure:
                raise self._failure
            utterance = self._utterance
            if not (self._config.interim_results and utterance.known):
                continue
            tokens = utterance.tokens()
            text = self._speller.text([token.id for token in tokens])
            if text and shown != (utterance, len(tokens)):
                shown = (utterance, len(tokens))
                yield Heard(text, self._stream.decoded, self._words(tokens))

    def close(self) -> None:
        self._engine.release(self._stream)

    def _flush(self, end_sample: int, rank: Rank) -> tuple[Flush, bool]:
        """The flush that ends there, and whether it was done already."""
        if flush := self._flushes.get(end_sample):
            self._engine.hurry(flush, rank)
            return flush, flush.done
        flush = self._flushes[end_sample] = self._engine.flush(self._stream, end_sample, rank)
        if len(self._flushes) > KEPT_FLUSHES:
            self._flushes.popitem(last=False)
        return flush, False

    def _on_step(self, tokens: list[Token]) -> None:
        self._moved.set()
        if not tokens:
            return
        # A superseded utterance still gets what its own open questions may cover.
        listening = {self._open, *(asked.utterance for asked in self._questions if asked.utterance.known)}
        for utterance in listening:
            utterance.heard += tokens
        self._grew.set()

    def _on_flush(self, flush: Flush) -> None:
        flush.delivered = True
        self._answer()

    def _on_failure(self, failure: BackendFailed) -> None:
        self._failure = failure
        for question in self._questions:
            if not question.answer.done():
                question.answer.set_exception(failure)
        self._questions.clear()
        self._moved.set()
        self._grew.set()

    def _answer(self) -> None:
        """Answers what can be: its flush has come, and its utterance's start is known."""
        for question in list(self._questions):
            if not (question.flush.delivered and question.utterance.known):
                continue
            self._questions.remove(question)
            tokens = self._said(question)
            if not question.answer.done():
                question.answer.set_result(tokens)

    def _said(self, question: Question) -> list[Token]:
        """The tokens up to the question's end. A commit's following utterance learns what it starts with."""
        utterance, flush, following = question.utterance, question.flush, question.following
        if flush.reached:
            said = utterance.tokens_with(flush)
            rest = [token for token in utterance.heard if token.frame >= flush.base_frame]
            echo = Echo(flush.end_frame, tuple(token.id for token in flush.tokens), flush.last_frame)
        else:
            # The state from before the end is gone: the tokens are told apart by when they were emitted.
            heard = utterance.tokens()
            count = before(heard, flush.end_frame, self._speller.begins_word)
            said, rest = heard[:count], heard[count:]
            last_frame = said[-1].frame if said else -1
            echo = Echo(flush.end_frame, tuple(token.id for token in said), last_frame)
        if following:
            following.known, following.echo, following.heard = True, echo, rest
            self._open = following
            self._grew.set()
        return said

    def _words(self, tokens: list[Token]) -> tuple[Word, ...]:
        if not self._config.words:
            return ()
        return words(tokens, self._speller.text, self._speller.begins_word, self._stream.context.frame_samples)


def _retrieved(answer: "asyncio.Future[list[Token]]") -> None:
    # Whoever asked may be gone, and asyncio would complain of an error that nobody takes.
    if not answer.cancelled():
        answer.exception()
