"""What this service counts, beside what every service counts."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS, SlotMetrics

from .backends import Done, Event, Rested, Text
from .grants import SENTENCE_END

TOKEN_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5, 1.0)
RATE_BUCKETS = (5, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 640)
SHARE_BUCKETS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class LlmMetrics:
    """Times to a first token or sentence, and in the queue, run from a request's arrival."""

    slots: SlotMetrics
    queue_seconds: Histogram
    first_token_seconds: Histogram
    first_sentence_seconds: Histogram
    inter_token_seconds: Histogram
    turn_seconds: Histogram
    tokens_per_second: Histogram
    cached_share: Histogram
    tokens: Counter
    dropped: Counter
    finished: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "LlmMetrics":
        def histogram(name: str, help: str, buckets: tuple[float, ...] = LATENCY_BUCKETS) -> Histogram:
            return Histogram(f"antiphon_llm_{name}", help, buckets=buckets, registry=registry)

        return cls(
            slots=SlotMetrics.register(registry, "llm"),
            queue_seconds=histogram("queue_seconds", "From a request's arrival to the model's beginning on it."),
            first_token_seconds=histogram("first_token_seconds", "From a request's arrival to its turn's first token."),
            first_sentence_seconds=histogram(
                "first_sentence_seconds", "From a request's arrival to its turn's first sentence, or its end."
            ),
            inter_token_seconds=histogram(
                "inter_token_seconds", "Between tokens of one turn, its rests left out.", TOKEN_BUCKETS
            ),
            turn_seconds=histogram(
                "turn_seconds", "From the model's beginning on a prompt to the turn's last token, rests included."
            ),
            tokens_per_second=histogram(
                "tokens_per_second", "Of one turn after its first token, its rests left out.", RATE_BUCKETS
            ),
            cached_share=histogram("cached_share", "Of a turn's prompt, what was at hand.", SHARE_BUCKETS),
            tokens=Counter(
                "antiphon_llm_tokens",
                "Prompt evaluated, prompt cached and output of finished turns; output of aborted ones.",
                ["kind"],
                registry=registry,
            ),
            dropped=Counter(
                "antiphon_llm_dropped_messages", "Messages that a context had no room for.", registry=registry
            ),
            finished=Counter(
                "antiphon_llm_finished",
                "Turns by why they ended: aborted ones have no other reason.",
                ["reason"],
                registry=registry,
            ),
        )


class Meter:
    """One turn's: told of its events as they come, and at its end whether there was a last one."""

    def __init__(self, metrics: LlmMetrics, arrived_s: float) -> None:
        self._metrics = metrics
        self._arrived_s = arrived_s
        self._last_s: float | None = None
        self._busy_s = 0.0
        self._said = ""
        self._sentence = False
        self._tokens = self._timed = 0
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._done:
            self._metrics.tokens.labels("aborted").inc(self._tokens)
            self._metrics.finished.labels("aborted").inc()

    def observe(self, event: Event) -> None:
        """An event that the model gave."""
        match event:
            case Text(text, tokens):
                self._heard(text, tokens, time.monotonic())
            case Rested():
                self._last_s = None

    def observe_sent(self, event: Event) -> None:
        """An event that its caller has been sent: a turn whose end could not be sent has been left, so is aborted."""
        if isinstance(event, Done):
            self._done = True
            self._over(event, time.monotonic())

    def _heard(self, text: str, tokens: int, now_s: float) -> None:
        self._tokens += tokens
        if self._last_s is not None and tokens:
            self._metrics.inter_token_seconds.observe((now_s - self._last_s) / tokens)
            self._busy_s += now_s - self._last_s
            self._timed += tokens
        self._last_s = now_s
        if not self._sentence:
            self._said += text
            if SENTENCE_END.search(self._said):
                self._first_sentence(now_s)

    def _first_sentence(self, now_s: float) -> None:
        self._sentence = True
        self._metrics.first_sentence_seconds.observe(now_s - self._arrived_s)

    def _over(self, done: Done, now_s: float) -> None:
        metrics, usage = self._metrics, done.usage
        if self._said and not self._sentence:
            self._first_sentence(now_s)
        if usage.output_tokens:
            queued_s = max(0.0, done.began_s - self._arrived_s)
            metrics.queue_seconds.observe(queued_s)
            metrics.first_token_seconds.observe(queued_s + done.first_token_s)
            metrics.turn_seconds.observe(max(0.0, done.ended_s - done.began_s))
        if self._busy_s:
            metrics.tokens_per_second.observe(self._timed / self._busy_s)
        if usage.prompt_tokens:
            metrics.cached_share.observe(usage.cached_tokens / usage.prompt_tokens)
        metrics.tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
        metrics.tokens.labels("cached").inc(usage.cached_tokens)
        metrics.tokens.labels("output").inc(usage.output_tokens)
        metrics.dropped.inc(usage.dropped_messages)
        metrics.finished.labels(done.reason.value).inc()
