"""What this service counts, beside its slots and RPCs."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS


@dataclass(frozen=True)
class TurnMetrics:
    """`verdicts` by outcome: complete, incomplete, or overtaken by speech and never sent."""

    hearing_seconds: Histogram
    verdict_seconds: Histogram
    verdict_queue_seconds: Histogram
    verdicts: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "TurnMetrics":
        def latency(name: str, help_text: str) -> Histogram:
            return Histogram(f"antiphon_turn_{name}", help_text, buckets=LATENCY_BUCKETS, registry=registry)

        return cls(
            hearing_seconds=latency("hearing_seconds", "From an audio message's arrival until all of it was heard."),
            verdict_seconds=latency("verdict_seconds", "From the audio that asked for a verdict until it was ready."),
            verdict_queue_seconds=latency("verdict_queue_seconds", "The part of it before the model began."),
            verdicts=Counter(
                "antiphon_turn_verdicts", "Verdicts, by what became of them.", ["outcome"], registry=registry
            ),
        )
