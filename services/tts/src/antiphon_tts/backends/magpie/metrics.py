"""What the engine counts: steps, batches, and what was made for nobody."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from antiphon_runtime.stepping import BATCH_BUCKETS, STEP_BUCKETS


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """The kinds of work are: prefill, which reads a text; step, which makes frames; vocode, which makes them sound."""

    step_seconds: Histogram
    batch_size: Histogram
    real_time_factor: Gauge
    wasted: Counter
    failed: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "EngineMetrics":
        return cls(
            step_seconds=Histogram(
                "antiphon_tts_step_seconds",
                "A batched step of the model, by kind: prefill, step or vocode.",
                ["kind"],
                buckets=STEP_BUCKETS,
                registry=registry,
            ),
            batch_size=Histogram(
                "antiphon_tts_batch_size",
                "Segments in a batched step.",
                ["kind"],
                buckets=BATCH_BUCKETS,
                registry=registry,
            ),
            real_time_factor=Gauge(
                "antiphon_tts_real_time_factor",
                "Seconds in the model for each second of audio, over about the last minute.",
                registry=registry,
            ),
            wasted=Counter(
                "antiphon_tts_wasted_frames", "Frames decoded for segments that were cancelled.", registry=registry
            ),
            failed=Counter("antiphon_tts_failed_segments", "Segments that a step failed for.", registry=registry),
        )
