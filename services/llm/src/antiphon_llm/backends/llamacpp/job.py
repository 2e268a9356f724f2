"""A turn on its way through the engine."""

import codecs
from dataclasses import dataclass, field
from typing import Protocol

from ...grants import Allowance
from .. import Reason, Sampling
from .memory import Plan
from .sampler import Sampler


@dataclass(frozen=True, slots=True)
class Request:
    """A turn to generate: what the model is to read, of which other conversations share the `opening`."""

    slot: int
    text: bytes
    opening: bytes
    sampling: Sampling
    seed: int
    grammar: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a turn ended. Times are on time.monotonic's clock."""

    reason: Reason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    began_s: float
    first_s: float
    ended_s: float


class Listener(Protocol):
    """Told on the event loop."""

    def on_text(self, text: str, tokens: int) -> None: ...

    def on_rested(self, tokens: int) -> None: ...

    def on_ended(self, ended: Ended) -> None: ...

    def on_failure(self, error: Exception) -> None: ...


@dataclass(eq=False, slots=True)
class Job:
    """`next` is the token chosen last, which is not evaluated before another one is wanted. Rests without allowance.

    `plan` and `sampler` are there once it has `begun`.
    """

    request: Request
    listener: Listener
    allowance: Allowance | None
    begun: bool = False
    plan: Plan = field(init=False)
    sampler: Sampler = field(init=False)
    next: int = -1
    output: int = 0
    prompt_tokens: int = 0
    began_s: float = 0.0
    first_s: float = 0.0
    characters: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    @property
    def reads(self) -> bool:
        """Whether its prompt is still being evaluated."""
        return bool(self.plan.pending)

    def ended(self, reason: Reason, now_s: float) -> Ended:
        cached = self.plan.cached if self.begun else 0
        first_s = self.first_s or now_s
        return Ended(reason, self.prompt_tokens, cached, self.output, self.began_s or now_s, first_s, now_s)
