"""What Prometheus is told about conversations."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS

from .timeline import Turn

# The spans in which a caller of each service waits for its first answer.
FIRST_ANSWERS = {"asr": "asr", "llm first token": "llm", "tts first audio": "tts"}


@dataclass(frozen=True)
class Metrics:
    """Per-turn latencies, and sessions. Turns without an answer are counted, never averaged."""

    v2v: Histogram
    stage: Histogram
    ttfb: Histogram
    turns: Counter
    sessions: Gauge
    refused: Counter
    empty: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "Metrics":
        def histogram(name: str, text: str, labels: list[str]) -> Histogram:
            return Histogram(name, text, labels, buckets=LATENCY_BUCKETS, registry=registry)

        return cls(
            v2v=histogram(
                "antiphon_v2v_seconds",
                "From the caller's last speech sample to the agent's first, by how the turn ended.",
                ["outcome"],
            ),
            stage=histogram("antiphon_stage_seconds", "The stages of the critical path of a turn.", ["stage"]),
            ttfb=histogram("antiphon_ttfb_seconds", "A service's first answer, as its caller sees it.", ["service"]),
            turns=Counter("antiphon_turns", "Turns, by how they ended.", ["outcome"], registry=registry),
            sessions=Gauge("antiphon_sessions_active", "Conversations under way.", registry=registry),
            refused=Counter("antiphon_sessions_refused", "Conversations refused.", ["reason"], registry=registry),
            empty=Counter("antiphon_empty_utterances", "Speech edges in which no words were heard.", registry=registry),
        )

    def observe(self, turn: Turn) -> None:
        """Counts a closed turn."""
        outcome = turn.outcome or "failed"
        self.turns.labels(outcome).inc()
        if turn.v2v_ms is None:
            return
        self.v2v.labels(outcome).observe(turn.v2v_ms / 1000)
        seconds: dict[str, float] = {}
        for stage in turn.stages:  # a turn with a tool has some stages twice
            seconds[stage.name] = seconds.get(stage.name, 0.0) + (stage.end_ns - stage.start_ns) / 1e9
        for name, value in seconds.items():
            self.stage.labels(name).observe(value)
        for span in turn.spans:
            service = "turn" if span.name.startswith("verdict") else FIRST_ANSWERS.get(span.name)
            if service:
                self.ttfb.labels(service).observe((span.end_ns - span.start_ns) / 1e9)
