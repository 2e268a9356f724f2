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
    skipped: Counter
    audio: Counter
    underruns: Counter
    underrun_seconds: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "TtsMetrics":
        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"antiphon_tts_{name}_seconds", text, buckets=LATENCY_BUCKETS, registry=registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"antiphon_tts_{name}", text, registry=registry)

        return cls(
            slots=SlotMetrics.register(registry, "tts"),
            first_audio=seconds("first_audio", "From a reply's first segment being whole until its first audio."),
            queue=seconds("queue", "From a segment being whole until the model began on it."),
            compute=seconds("compute", "From then until its first audio was ready."),
            segments=counter("segments", "Segments spoken."),
            skipped=counter("skipped_segments", "Segments that had nothing to be said."),
            audio=counter("audio_seconds", "Audio made."),
            underruns=counter("underruns", "Times that a listener in real time ran dry although the text was here."),
            underrun_seconds=counter("underrun_seconds", "For how long they did."),
        )
