"""What this service counts."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS, SlotMetrics


@dataclass(frozen=True)
class TtsMetrics:
    slots: SlotMetrics
    first_audio: Histogram
    queue: Histogram
    compute: Histogram
    segments: Counter
    audio: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "TtsMetrics":
        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"antiphon_tts_{name}_seconds", text, buckets=LATENCY_BUCKETS, registry=registry)

        return cls(
            slots=SlotMetrics.register(registry, "tts"),
            first_audio=seconds("first_audio", "From a reply's first segment being whole until its first audio."),
            queue=seconds("queue", "From a segment being whole until the model began on it."),
            compute=seconds("compute", "From then until its first audio was ready."),
            segments=Counter("antiphon_tts_segments", "Segments spoken.", registry=registry),
            audio=Counter("antiphon_tts_audio_seconds", "Audio made.", registry=registry),
        )
