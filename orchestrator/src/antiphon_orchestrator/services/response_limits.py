"""Bounds on a response of the language model, whatever the server sends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.llm.v1 import llm_pb2 as pb

from ..limits import Limit, OnLimit

# For a response whose `max_token_count` is the server's own.
LARGEST_TOKEN_COUNT = 4096
# A token has at least 1 and, over a whole response, no more characters on average than this.
SHORT_TOKEN_CHARS = 4
LONG_TOKEN_CHARS = 8
SPARE_TOKENS = 8
# What an event without text counts for.
EMPTY_EVENT_TOKENS = 0.25
MAX_TOOL_CALLS = 8
MAX_ARGUMENTS_CHARS = 16_384
MAX_NAME_CHARS = 128


class ResponseRefused(Exception):
    """The server sent nothing of a response that could be used."""


def _ignore(_limit: Limit, _detail: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """Limits of the responses in a call, and the function that hears of those that are reached."""

    max_tool_rounds: int = 5
    on_limit: OnLimit = _ignore


class ResponseMeter:
    """Counts the events of one response and ends it at its limits.

    The server's own token count is not relied on. An event counts for one token; one of fewer than four characters for
    a quarter of a token per character, and one of more than eight for a token per eight characters. No tokenizer needs
    fewer over a whole response. The response is over when that count exceeds `max_token_count` by more than eight, or
    when it holds more than eight tool calls or one with more than 16384 characters of arguments.
    """

    def __init__(self, max_token_count: int) -> None:
        self._most = (max_token_count or LARGEST_TOKEN_COUNT) + SPARE_TOKENS
        self._tokens = 0.0
        self._calls = 0
        self._used = False
        self.reached: tuple[Limit, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing that can be spoken or run has been admitted."""
        return not self._used

    def admit(self, event: pb.GenerateResponse) -> pb.GenerateResponse | None:
        """Return the event, its text cut to what is left, or None. Sets `reached` when the response is over."""
        match event.WhichOneof("event"):
            case "finished":
                return event
            case "tool_call":
                return self._admit_call(event)
            case "text":
                return self._admit_text(event)
        self._spend(EMPTY_EVENT_TOKENS)
        return None if self.reached else event

    def _admit_text(self, event: pb.GenerateResponse) -> pb.GenerateResponse:
        text, left = event.text.text, self._most - self._tokens
        self._spend(token_cost(text))
        if self.reached:
            text = text[: int(left * LONG_TOKEN_CHARS)]
            event = pb.GenerateResponse(text=pb.TextDelta(text=text))
        self._used = self._used or bool(text.strip())
        return event

    def _admit_call(self, event: pb.GenerateResponse) -> pb.GenerateResponse | None:
        call = event.tool_call
        self._calls += 1
        if self._calls > MAX_TOOL_CALLS:
            self.reached = "tool_calls", f"a response holds more than {MAX_TOOL_CALLS} tool calls"
        elif len(call.arguments_json) > MAX_ARGUMENTS_CHARS:
            detail = f"arguments of {len(call.arguments_json)} characters: at most {MAX_ARGUMENTS_CHARS} are taken"
            self.reached = "tool_calls", detail
        elif max(len(call.name), len(call.call_id)) > MAX_NAME_CHARS:
            self.reached = "tool_calls", f"a name or an id of more than {MAX_NAME_CHARS} characters"
        if self.reached:
            return None
        self._used = True
        return event

    def _spend(self, tokens: float) -> None:
        self._tokens += tokens
        if self._tokens > self._most:
            self.reached = "answer_tokens", f"a response of more than {self._most - SPARE_TOKENS} tokens"


def token_cost(text: str) -> float:
    """The fewest tokens that `text`, sent as one event, can be taken for."""
    short = min(1.0, max(EMPTY_EVENT_TOKENS, len(text) / SHORT_TOKEN_CHARS))
    return max(short, len(text) / LONG_TOKEN_CHARS)


class ToolRounds:
    """Counts the rounds of tool calls since the caller last spoke."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rounds = 0

    @property
    def are_used_up(self) -> bool:
        return self._rounds >= self._most

    def asked(self, messages: Sequence[Any]) -> None:
        """Note a request: one that ends with the caller's words begins a turn."""
        last = messages[-1] if messages else None
        if isinstance(last, Mapping) and last.get("role") == "user":
            self._rounds = 0

    def called(self) -> None:
        self._rounds += 1


class CallIds:
    """Gives each tool call of a conversation an id of its own, by which the context tells them apart."""

    def __init__(self) -> None:
        self._number = 0
        self._taken: set[str] = set()

    def unique(self, call_id: str) -> str:
        """Return `call_id`, with a number behind it when an earlier call had it."""
        self._number += 1
        if not call_id or call_id in self._taken:
            call_id = f"{call_id or 'call'}-{self._number}"
        self._taken.add(call_id)
        return call_id
