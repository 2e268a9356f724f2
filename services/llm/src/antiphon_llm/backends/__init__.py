"""What a language model is to the rest of this service."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from antiphon_runtime.server import Host

from ..conversation import Call, Choice, Message, Tool
from ..grants import Grants

BACKENDS = {
    "stub": "antiphon_llm.backends.stub:StubModel",
    "llamacpp": "antiphon_llm.backends.llamacpp:LlamaCpp",
    "openai": "antiphon_llm.backends.openai:OpenAI",
    "vllm": "antiphon_llm.backends.vllm:Vllm",
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `seed` None: at random."""

    temperature: float
    top_p: float
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One turn to generate: at most `max_tokens`, and with `await_grants` only what has been granted.

    `sent_json` is what `messages`, `tools` and `choice` were read from, for `read_sent`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    choice: Choice
    sampling: Sampling
    max_tokens: int
    await_grants: bool = False
    sent_json: tuple[str, str, str] = ("[]", "", "")


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer, of so many tokens."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class CallPart:
    """The next piece of the arguments of a tool call, which itself comes whole at the turn's end."""

    index: int
    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class Rested:
    """The grant of this name is used up, by that many tokens."""

    segment_id: int
    tokens: int


class Reason(Enum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    GRANTS_USED = "grants_used"


@dataclass(frozen=True, slots=True)
class Usage:
    """In tokens. `dropped_messages`: the oldest ones, which the model's context had no room for."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    dropped_messages: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The turn has ended. `began_s` and `ended_s` are on time.monotonic's clock; `first_token_s` is from `began_s`."""

    reason: Reason
    usage: Usage
    began_s: float
    ended_s: float
    first_token_s: float


Event = Text | CallPart | Call | Rested | Done


class Model(Protocol):
    """A loaded model: one per process, shared by every turn. A class of it has `load(settings) -> Model`, which blocks
    until the model is warm and raises ConfigError when it cannot be had."""

    name: str

    def attach(self, host: Host) -> None:
        """Told once, on the event loop, before the first turn: where to say that the model is gone for good."""
        ...

    def generate(self, generation: Generation, grants: Grants) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """The turn's events, `Done` last. Leaving the context stops the engine, and returns when it has stopped.

        Iterating raises InvalidInput when the conversation is longer than the model's context.
        """
        ...

    def close(self) -> None:
        """Lets go of the model. Blocks until its threads have ended."""
        ...
