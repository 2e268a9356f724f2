"""What this service counts, beside what every service counts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from antiphon_runtime.metrics import LATENCY_BUCKETS, SlotMetrics

from .backends import Work


@dataclass(frozen=True, slots=True)
class AsrMetrics:
    """`finalize_seconds` runs from when a finalize and its audio are both here until its text is ready.

    `speech_end_seconds` runs from the arrival of the last sample that the text covers.
    """

    slots: SlotMetrics
    audio_seconds: Counter
    finalize_seconds: Histogram
    speech_end_seconds: Histogram
    finalized: Counter
    refused: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry, work: Callable[[], Mapping[str, Work]]) -> "AsrMetrics":
        registry.register(_WorkCollector(work))
        return cls(
            slots=SlotMetrics.register(registry, "asr"),
            audio_seconds=Counter("antiphon_asr_audio_seconds", "Audio taken from callers.", registry=registry),
            finalize_seconds=Histogram(
                "antiphon_asr_finalize_seconds",
                "From a finalize with its audio to its text.",
                ["mode"],
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            speech_end_seconds=Histogram(
                "antiphon_asr_speech_end_seconds",
                "From the arrival of the last sample that a finalize covers to its text.",
                ["mode"],
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            refused=Counter(
                "antiphon_asr_refused",
                "Streams refused: no_slot, or backlog when the model is too far behind.",
                ["reason"],
                registry=registry,
            ),
            finalized=Counter(
                "antiphon_asr_finalized",
                "Finalizes answered: text, or empty.",
                ["mode", "outcome"],
                registry=registry,
            ),
        )


class _WorkCollector(Collector):
    """Reads a recognizer's own count of its model's runs at each scrape."""

    def __init__(self, work: Callable[[], Mapping[str, Work]]) -> None:
        self._work = work

    def collect(self) -> Iterable[Metric]:
        runs = CounterMetricFamily("antiphon_asr_decodes", "Runs of the model, by what for.", labels=["kind"])
        seconds = CounterMetricFamily("antiphon_asr_decode_seconds", "Time in the model, by what for.", labels=["kind"])
        for kind, work in self._work().items():
            runs.add_metric([kind], work.runs)
            seconds.add_metric([kind], work.seconds)
        return [runs, seconds]
