"""One answer, read piece by piece from the server's stream."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any

from antiphon_runtime.errors import BackendFailed, InvalidInput

from ...conversation import Call
from ...grants import Allowance, Grant, Grants
from .. import CallPart, Done, Event, Generation, Reason, Rested, Text, Usage
from .failures import translated
from .reasoning import Spoken

REASONS = {
    "stop": Reason.STOP,
    "length": Reason.LENGTH,
    "tool_calls": Reason.TOOL_CALLS,
    "function_call": Reason.TOOL_CALLS,
}


async def answered(
    generation: Generation, grants: Grants, opened: Callable[[], AbstractAsyncContextManager[AsyncIterator[Any]]]
) -> AsyncGenerator[Event]:
    """A turn's events, from the chunks that `opened` gives once there is a grant, if grants are awaited."""
    grant, began_s = None, time.monotonic()
    if generation.await_grants and (grant := await grants.next()) is None:
        yield Done(Reason.GRANTS_USED, Usage(0, 0, 0), began_s, began_s, 0.0)
        return
    reply = Reply(time.monotonic(), call_wanted=generation.choice.mode == "required")
    async with opened() as chunks, aclosing(reply.events(chunks, grants, grant, generation.max_tokens)) as events:
        async for event in events:
            yield event


@dataclass(slots=True)
class _Part:
    """A tool call as far as it has come."""

    call_id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Reply:
    """What has been read. A chunk counts as a token, unless the server says how many there were.

    `call_wanted`: nothing is said, since only a call may come.
    """

    began_s: float
    call_wanted: bool = False
    first_s: float = 0.0
    tokens: int = 0
    finish: str = ""
    usage: Usage | None = None
    calls: dict[int, _Part] = field(default_factory=dict)
    spoken: Spoken = field(default_factory=Spoken)

    async def events(
        self, chunks: AsyncIterator[Any], grants: Grants, grant: Grant | None, most: int
    ) -> AsyncGenerator[Event]:
        """The answer's events, `Done` last. What the grants do not pay for is not read, and waits in the connection.

        Raises BackendFailed when the stream ends without having said why, InvalidInput when a call was wanted and none
        made.
        """
        allowance = Allowance(grant.tokens, grant.most) if grant else Allowance(most)
        async for chunk in chunks:
            before = self.tokens
            with translated():
                text, parts = self._read(chunk)
            for more in parts:
                yield more
            if text and not self.call_wanted:
                yield Text(text, max(1, self.tokens - before))
            goes_on = [allowance.spend(text) for _ in range(self.tokens - before)]
            if grant and goes_on and not goes_on[-1] and not self.finish and self.tokens < most:
                yield Rested(grant.segment_id, allowance.used)
                if (grant := await grants.next()) is None:
                    yield self._done(Reason.GRANTS_USED)
                    return
                allowance = Allowance(grant.tokens, grant.most)
        if (text := self.spoken.rest()) and not self.call_wanted:
            yield Text(text, 0)
        if self.finish not in REASONS:
            raise BackendFailed(
                f"the model's server ended an answer without a reason ({self.finish or 'none'})",
                reason="ENDPOINT_GARBAGE",
            )
        if self.call_wanted and not self.calls:
            raise InvalidInput("the model answers in words where it must call a tool", reason="NO_CALL_MADE")
        for part in self.calls.values():
            yield Call(part.call_id, part.name, part.arguments or "{}")
        yield self._done(Reason.TOOL_CALLS if self.calls else REASONS[self.finish])

    def _read(self, chunk: Any) -> tuple[str, list[CallPart]]:
        """Takes a chunk in; returns what it says aloud, and what it adds to calls."""
        text, parts = "", []
        for choice in chunk.choices:
            self.finish = choice.finish_reason or self.finish
            parts += [self._part(part) for part in choice.delta.tool_calls or ()]
            text += self._said(choice.delta)
        if chunk.usage:
            usage = chunk.usage
            details = usage.prompt_tokens_details
            self.usage = Usage(usage.prompt_tokens, (details and details.cached_tokens) or 0, usage.completion_tokens)
            self.tokens = max(self.tokens, usage.completion_tokens) if chunk.choices else self.tokens
        return text, parts

    def _said(self, delta: Any) -> str:
        said = delta.content or ""
        thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if said or thought or delta.tool_calls:
            self.first_s = self.first_s or time.monotonic()
            self.tokens += 1
        return self.spoken.heard(said) if said else ""

    def _part(self, part: Any) -> CallPart:
        call, more = self.calls.setdefault(part.index, _Part()), ""
        call.call_id = part.id or call.call_id
        if part.function:
            call.name = part.function.name or call.name
            more = part.function.arguments or ""
        call.arguments += more
        return CallPart(part.index, call.call_id, call.name, more)

    def _done(self, reason: Reason) -> Done:
        now_s = time.monotonic()
        usage = self.usage or Usage(0, 0, self.tokens)
        return Done(reason, usage, self.began_s, now_s, (self.first_s or now_s) - self.began_s)
