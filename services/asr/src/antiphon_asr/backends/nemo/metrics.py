"""What the engine counts: steps, batches, waits and backlog."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STEP_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.25, 0.5, 1.0, 2.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# The real-time factor is that of about the last minute.
MEMORY_S = 60.0


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


class RealTimeFactor:
    """Seconds of compute for each second of audio; what is past counts less, by e each MEMORY_S."""

    def __init__(self) -> None:
        self._compute_s = 0.0
        self._audio_s = 0.0
        self._at_s = 0.0

    def add(self, now_s: float, compute_s: float, audio_s: float) -> float:
        faded = math.exp((self._at_s - now_s) / MEMORY_S) if self._at_s else 0.0
        self._compute_s = self._compute_s * faded + compute_s
        self._audio_s = self._audio_s * faded + audio_s
        self._at_s = now_s
        return self._compute_s / self._audio_s if self._audio_s else 0.0
