"""What this service counts, beside what every service counts."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS, SlotMetrics

from .backends import Done


@dataclass(frozen=True, slots=True)
class LlmMetrics:
    """`first_token_seconds` runs from the arrival, `turn_seconds` from the model's beginning on the prompt."""

    slots: SlotMetrics
    first_token_seconds: Histogram
    turn_seconds: Histogram
    tokens: Counter
    finished: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "LlmMetrics":
        return cls(
            slots=SlotMetrics.register(registry, "llm"),
            first_token_seconds=Histogram(
                "antiphon_llm_first_token_seconds",
                "From a request's arrival to its turn's first token.",
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            turn_seconds=Histogram(
                "antiphon_llm_turn_seconds",
                "From the model's beginning on a prompt to the turn's last token, rests included.",
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            tokens=Counter(
                "antiphon_llm_tokens",
                "Tokens of finished turns: prompt evaluated, prompt cached, output.",
                ["kind"],
                registry=registry,
            ),
            finished=Counter("antiphon_llm_finished", "Turns by why they ended.", ["reason"], registry=registry),
        )

    def observe(self, done: Done, arrived_s: float) -> None:
        if done.usage.output_tokens:
            self.first_token_seconds.observe(max(0.0, done.began_s - arrived_s) + done.first_token_s)
            self.turn_seconds.observe(max(0.0, done.ended_s - done.began_s))
        usage = done.usage
        self.tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.tokens.labels("output").inc(usage.output_tokens)
        self.finished.labels(done.reason.value).inc()
