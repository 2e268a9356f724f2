"""One turn: requests to the engine, one for each grant, that go on where the last one ended."""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import replace

from antiphon_runtime.errors import BackendFailed

from ...conversation import Call
from ...grants import Grants
from .. import Done, Event, Generation, Reason, Rested, Text, Usage
from .engine import SEEDS, Answer, Ask, Engine
from .mailbox import Mailbox
from .prompt import Prompt


class Turn:
    """What a turn has said, and what it has cost.

    The engine cannot rest within a request: it generates whether or not its callback returns. So each grant is a
    request of its own, which goes on after the text that has been shown, from the slot's cache; one token is evaluated
    again. Tokens that are not a whole character yet, and those of a tool call, cannot be put into words: the next
    request generates these `_unsaid` again.
    """

    def __init__(self, engine: Engine, threads: Executor, slot: int, prompt: Prompt, generation: Generation) -> None:
        self._engine = engine
        self._threads = threads
        sampling = generation.sampling
        if sampling.seed is None:  # one seed for all requests, so that a call generated again is the same call
            sampling = replace(sampling, seed=secrets.randbelow(SEEDS))
        self._ask = Ask(slot, prompt.turns, 0, sampling, prompt.grammar)
        self._generation = generation
        self._stop = threading.Event()
        self._running: asyncio.Future[Answer] | None = None
        self._said = self._call_json = ""
        self._unsaid = self._spent = 0
        self._first: Answer | None = None

    async def events(self, grants: Grants) -> AsyncGenerator[Event]:
        """The turn's events, `Done` last. Leave it by `stop`."""
        left = self._generation.max_tokens
        while True:
            grant = await grants.next() if self._generation.await_grants else None
            if self._generation.await_grants and grant is None:
                yield self._done(Reason.GRANTS_USED)
                return
            allowed = min(grant.tokens, left) if grant else left
            async for text in self._begun(allowed):
                if heard := self._told(text):
                    yield Text(heard)
            answer, spent = await self._settled()
            left -= spent
            if answer.finished and self._call_json:
                yield _call(self._call_json)
            if answer.finished or not left or spent < allowed or not grant:
                yield self._done(self._reason(answer))
                return
            yield Rested(grant.segment_id, spent)

    async def stop(self) -> None:
        """Ends what the engine does for this turn; returns when it has."""
        self._stop.set()
        if self._running:
            await asyncio.wait([self._running])

    def _begun(self, allowed: int) -> Mailbox:
        # The start of an answer decides between a call and a plain answer: after it, no grammar is needed.
        grammar = "" if self._said else self._ask.grammar
        ask = replace(self._ask, said=self._said, max_tokens=self._unsaid + allowed, grammar=grammar)
        self._call_json, mailbox = "", Mailbox()

        def work() -> Answer:
            try:
                return self._engine.ask(ask, self._stop, mailbox.put)
            finally:
                mailbox.close()

        self._running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        return mailbox

    def _told(self, text: str) -> str:
        """What of `text` is for the listener: nothing of a tool call."""
        if self._ask.grammar and not self._said and (self._call_json or text.startswith("{")):
            self._call_json += text
            return ""
        self._said += text
        return text

    async def _settled(self) -> tuple[Answer, int]:
        """The answer to the request, and what it cost beyond the tokens that were paid for already."""
        assert self._running is not None
        answer = await self._running
        spent = max(0, answer.output_tokens - self._unsaid)
        self._unsaid = answer.output_tokens - (0 if self._call_json else answer.shown_tokens)
        self._spent += spent
        self._first = self._first or answer
        return answer, spent

    def _reason(self, answer: Answer) -> Reason:
        if not answer.finished:
            return Reason.LENGTH
        return Reason.TOOL_CALLS if self._call_json else Reason.STOP

    def _done(self, reason: Reason) -> Done:
        first, now_s = self._first, time.monotonic()
        if first is None:
            return Done(reason, Usage(0, 0, 0), now_s, now_s, 0.0)
        usage = Usage(first.prompt_tokens, first.cached_tokens, self._spent)
        return Done(reason, usage, first.began_s, now_s, first.first_token_s)


def _call(text: str) -> Call:
    """Raises BackendFailed when the engine has not kept to the grammar."""
    try:
        call = json.loads(text)
        return Call(f"call_{secrets.token_hex(8)}", call["tool"], json.dumps(call["arguments"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BackendFailed(f"the engine made a call that is none: {text[:200]}") from error
