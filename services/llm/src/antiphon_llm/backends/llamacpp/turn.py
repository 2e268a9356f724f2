"""One turn, on the event loop: what the engine tells of it as the turn's events."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

from ...grants import Allowance, Grants
from .. import CallPart, Done, Event, Generation, Reason, Rested, Text, Usage
from .calls import Calls
from .engine import Engine
from .job import Ended, Job, Request


class Turn:
    """The engine's listener. Pieces of text that wait for a slow reader become one; a tool call's text is not said."""

    def __init__(self, engine: Engine, request: Request, generation: Generation, dropped: int) -> None:
        self._engine = engine
        self._request = request
        self._generation = generation
        self._dropped = dropped
        self._job: Job | None = None
        self._told: deque[Text | CallPart | int | Ended | Exception] = deque()
        self._changed = asyncio.Event()
        self._speaks = False
        self._calls = Calls()

    def on_text(self, text: str, tokens: int) -> None:
        if self._request.grammar and not self._speaks and (self._calls or text.lstrip().startswith("{")):
            for part in self._calls.read(text):
                self._put(part)
            text = ""
        self._speaks = self._speaks or bool(text.strip())
        if self._told and isinstance(last := self._told[-1], Text):
            self._told[-1] = Text(last.text + text, last.tokens + tokens)
        else:
            self._put(Text(text, tokens))

    def on_rested(self, tokens: int) -> None:
        self._put(tokens)

    def on_ended(self, ended: Ended) -> None:
        self._put(ended)

    def on_failure(self, error: Exception) -> None:
        self._put(error)

    async def events(self, grants: Grants) -> AsyncGenerator[Event]:
        """The turn's events, `Done` last. Leave it by `stop`."""
        silent = 0
        while True:
            grant = await grants.next() if self._generation.await_grants else None
            if self._generation.await_grants and grant is None:
                yield self._done(self._so_far())
                return
            self._go_on(Allowance(grant.tokens, grant.most) if grant else None)
            while isinstance(told := await self._next(), Text | CallPart):
                if isinstance(told, CallPart):
                    yield told
                    continue
                silent += told.tokens
                if told.text:
                    yield Text(told.text, silent)
                    silent = 0
            if isinstance(told, Ended):
                calls = self._calls.whole() if self._calls and told.reason is Reason.STOP else []
                for call in calls:
                    yield call
                yield self._done(told, Reason.TOOL_CALLS if calls else told.reason)
                return
            assert grant is not None, "only a turn with grants rests"
            yield Rested(grant.segment_id, told)

    def stop(self) -> None:
        """The engine does no more for this turn than the step that it is in."""
        if self._job:
            self._engine.release(self._job)

    def _go_on(self, allowance: Allowance | None) -> None:
        if self._job is None:
            self._job = self._engine.ask(self._request, self, allowance)
        elif allowance:
            self._engine.go_on(self._job, allowance)

    def _put(self, told: Text | CallPart | int | Ended | Exception) -> None:
        self._told.append(told)
        self._changed.set()

    async def _next(self) -> Text | CallPart | int | Ended:
        while not self._told:
            self._changed.clear()
            await self._changed.wait()
        told = self._told.popleft()
        if isinstance(told, Exception):
            raise told
        return told

    def _so_far(self) -> Ended:
        now_s = time.monotonic()
        if self._job is None:
            return Ended(Reason.GRANTS_USED, 0, 0, 0, now_s, now_s, now_s)
        return self._job.ended(Reason.GRANTS_USED, now_s)

    def _done(self, ended: Ended, reason: Reason | None = None) -> Done:
        usage = Usage(ended.prompt_tokens, ended.cached_tokens, ended.output_tokens, self._dropped)
        return Done(reason or ended.reason, usage, ended.began_s, ended.ended_s, ended.first_s - ended.began_s)
