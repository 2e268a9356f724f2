"""Prometheus metrics of conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS

from .limits import LIMITS
from .records.options import REASONS
from .refusals import AUDIO, MESSAGES
from .timeline import OUTCOMES, STAGES, Turn
from .tools import TOOLS
from .trouble import Trouble

M = TypeVar("M", Counter, Histogram)

# The spans in which a caller of each service waits for its first answer.
FIRST_ANSWERS = {"asr": "asr", "llm first token": "llm", "tts first audio": "tts"}
# Instruments whose faults are contained.
INSTRUMENTS = ("observer", "metrics", "traces", "ledger", "message", "rtvi")
SERVICES = ("asr", "llm", "tts", "turn")
# Who ended a call: the caller hung up, the agent said goodbye, its time was up, this server stopped, or an error did.
Ending = Literal["caller", "agent", "limit", "server", "error"]
ENDINGS: tuple[Ending, ...] = get_args(Ending)
REFUSALS = ("full", "unknown_agent", "draining")
# A tool that is not one of ours has this name.
OTHER_TOOL = "other"
CALL_BUCKETS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
# What delays everything else is short, or it is a fault.
LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
# Key of the metadata of a field of Metrics: the function that registers its metric.
REGISTER = "register"


def _histogram(
    name: str, text: str, buckets: tuple[float, ...] = LATENCY_BUCKETS, **labels: Sequence[str]
) -> Mapping[str, Any]:
    """Metadata of a field: how to register its histogram, with a series for every value of its label."""

    def register(registry: CollectorRegistry) -> Histogram:
        return _with_all(Histogram(f"antiphon_{name}", text, [*labels], buckets=buckets, registry=registry), labels)

    return {REGISTER: register}


def _counter(name: str, text: str, **labels: Sequence[str]) -> Mapping[str, Any]:
    def register(registry: CollectorRegistry) -> Counter:
        return _with_all(Counter(f"antiphon_{name}", text, [*labels], registry=registry), labels)

    return {REGISTER: register}


def _gauge(name: str, text: str) -> Mapping[str, Any]:
    return {REGISTER: lambda registry: Gauge(f"antiphon_{name}", text, registry=registry)}


def _with_all(metric: M, labels: Mapping[str, Sequence[str]]) -> M:
    """Return the metric, with a series for every value of its label."""
    for values in labels.values():
        for value in values:
            metric.labels(value)
    return metric


@dataclass(frozen=True)
class Metrics:
    """Per-turn latencies, and sessions. Turns without an answer are counted, never averaged.

    Every label has its values here, and every series is there from the start, so that a rate over one that has not
    happened yet is 0 rather than nothing.
    """

    v2v: Histogram = field(
        metadata=_histogram(
            "v2v_seconds",
            "From the caller's last speech sample to the agent's first, by how the turn ended.",
            outcome=OUTCOMES,
        )
    )
    stage: Histogram = field(
        metadata=_histogram("stage_seconds", "The stages of the critical path of a turn.", stage=STAGES)
    )
    ttfb: Histogram = field(
        metadata=_histogram("ttfb_seconds", "A service's first answer, as its caller sees it.", service=SERVICES)
    )
    slow: Counter = field(
        metadata=_counter(
            "slow_turns",
            "Turns over 1.1 times the recent median, by the stage that exceeded its own median the most.",
            stage=STAGES,
        )
    )
    turns: Counter = field(metadata=_counter("turns", "Turns, by how they ended.", outcome=OUTCOMES))
    barge_in: Histogram = field(
        metadata=_histogram("barge_in_seconds", "From when a caller broke in to the agent's silence.")
    )
    false_interruptions: Counter = field(
        metadata=_counter("false_interruptions", "Times that an agent fell silent in vain, and went on.")
    )
    speculations: Counter = field(
        metadata=_counter(
            "speculations",
            "Answers begun before the turn was over, and what became of them.",
            event=("started", "committed", "dropped"),
        )
    )
    llm_calls: Histogram = field(
        metadata=_histogram("llm_calls_per_turn", "Times that a turn asked the language model.", CALL_BUCKETS)
    )
    tool: Histogram = field(metadata=_histogram("tool_seconds", "What a tool took.", tool=(*TOOLS, OTHER_TOOL)))
    audio_late: Histogram = field(
        metadata=_histogram(
            "audio_ingress_lag_seconds",
            "How much later than at best a caller's audio came, when the turn was committed.",
            LAG_BUCKETS,
        )
    )
    underruns: Counter = field(
        metadata=_counter("client_underruns", "Gaps in the agent's speech, as callers' players report them.")
    )
    messages_refused: Counter = field(
        metadata=_counter(
            "caller_messages_refused", "Messages of callers that were not let in.", reason=tuple(MESSAGES)
        )
    )
    audio_refused: Counter = field(
        metadata=_counter("caller_audio_refused", "Audio frames of callers that were not let in.", reason=tuple(AUDIO))
    )
    sessions: Gauge = field(metadata=_gauge("sessions_active", "Conversations under way."))
    refused: Counter = field(metadata=_counter("sessions_refused", "Conversations refused.", reason=REFUSALS))
    ended: Counter = field(
        metadata=_counter("sessions_ended", "Conversations that are over, by who ended them.", reason=ENDINGS)
    )
    empty: Counter = field(metadata=_counter("empty_utterances", "Speech edges in which no words were heard."))
    recording_errors: Counter = field(
        metadata=_counter(
            "recording_errors", "Recordings that failed, or from which audio was left out.", reason=REASONS
        )
    )
    loop_lag: Histogram = field(
        metadata=_histogram(
            "event_loop_lag_seconds", "How late the process runs what is due, four times a second.", LAG_BUCKETS
        )
    )
    audio_gap: Counter = field(
        metadata=_counter("audio_gap_seconds", "Silence put in the place of callers' audio that did not come.")
    )
    audio_dropped: Counter = field(
        metadata=_counter("audio_dropped_seconds", "Callers' audio that came too late to be heard.")
    )
    trouble: Counter = field(
        metadata=_counter(
            "caller_trouble",
            "Dead air of over 3 s, answers that broke off, silence after an interruption, answers to itself.",
            kind=[kind.value for kind in Trouble],
        )
    )
    internal_errors: Counter = field(
        metadata=_counter(
            "internal_errors", "Exceptions in instruments of a call, which go on without them.", where=INSTRUMENTS
        )
    )
    limits: Counter = field(metadata=_counter("limits_reached", "Limits of calls that were reached.", limit=LIMITS))

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "Metrics":
        """Register every field's metric."""
        return cls(**{one.name: one.metadata[REGISTER](registry) for one in fields(cls)})

    def observe(self, turn: Turn) -> None:
        """Counts a closed turn. Its trace is the exemplar of its latencies."""
        outcome = turn.outcome or "failed"
        seen_in = {"trace_id": turn.trace_id} if turn.trace_id else None
        self.turns.labels(outcome).inc()
        self.llm_calls.observe(turn.llm_calls)
        self.false_interruptions.inc(turn.false_interruptions)
        self.audio_late.observe(turn.audio_late_ms / 1000)
        self.speculations.labels("started").inc(turn.dropped + turn.speculated)
        self.speculations.labels("committed").inc(turn.speculated)
        self.speculations.labels("dropped").inc(turn.dropped)
        if turn.barge_in_ms is not None:
            self.barge_in.observe(turn.barge_in_ms / 1000, seen_in)
        for span in turn.spans:
            if span.name.startswith("tool "):
                name = span.name.removeprefix("tool ")
                tool = name if name in TOOLS else OTHER_TOOL
                self.tool.labels(tool).observe((span.end_ns - span.start_ns) / 1e9, seen_in)
        if turn.v2v_ms is None:
            return
        if turn.slow and turn.slowed_by:
            self.slow.labels(turn.slowed_by.stage).inc()
        self.v2v.labels(outcome).observe(turn.v2v_ms / 1000, seen_in)
        for stage, ms in turn.stage_ms.items():
            self.stage.labels(stage).observe(ms / 1000, seen_in)
        for span in turn.spans:
            service = "turn" if span.name.startswith("verdict") else FIRST_ANSWERS.get(span.name)
            if service:
                self.ttfb.labels(service).observe((span.end_ns - span.start_ns) / 1e9, seen_in)
