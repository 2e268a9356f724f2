"""What the engine counts: steps, batches, waits and backlog."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from antiphon_runtime.stepping import BATCH_BUCKETS, STEP_BUCKETS


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """`queue_wait` is the longest wait of a batch, from when a row's audio was here until its step began."""

    step_seconds: Histogram
    batch_size: Histogram
    queue_wait: Histogram
    real_time_factor: Gauge
    failed: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry, backlog_s: Callable[[], float]) -> "EngineMetrics":
        backlog = Gauge(
            "antiphon_asr_backlog_seconds", "Audio that waits for a step, over all streams.", registry=registry
        )
        backlog.set_function(backlog_s)
        return cls(
            step_seconds=Histogram(
                "antiphon_asr_step_seconds",
                "A batched step of the model, by context and by what it was for: live or flush.",
                ["context_ms", "kind"],
                buckets=STEP_BUCKETS,
                registry=registry,
            ),
            batch_size=Histogram(
                "antiphon_asr_batch_size",
                "Streams in a batched step.",
                ["context_ms", "kind"],
                buckets=BATCH_BUCKETS,
                registry=registry,
            ),
            queue_wait=Histogram(
                "antiphon_asr_queue_wait_seconds",
                "The longest wait in a batch for its step.",
                ["kind"],
                buckets=STEP_BUCKETS,
                registry=registry,
            ),
            real_time_factor=Gauge(
                "antiphon_asr_real_time_factor",
                "Seconds in the model for each second of audio, over about the last minute.",
                ["device"],
                registry=registry,
            ),
            failed=Counter("antiphon_asr_failed_streams", "Streams that a step failed for.", registry=registry),
        )
