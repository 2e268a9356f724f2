"""Prometheus metrics of conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

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


@dataclass(frozen=True)
class Metrics:
    """Per-turn latencies, and sessions. Turns without an answer are counted, never averaged.

    Every label has its values here, and every series is there from the start, so that a rate over one that has not
    happened yet is 0 rather than nothing.
    """

    v2v: Histogram
    stage: Histogram
    ttfb: Histogram
    slow: Counter
    turns: Counter
    barge_in: Histogram
    false_interruptions: Counter
    speculations: Counter
    llm_calls: Histogram
    tool: Histogram
    audio_late: Histogram
    underruns: Counter
    messages_refused: Counter
    audio_refused: Counter
    sessions: Gauge
    refused: Counter
    ended: Counter
    empty: Counter
    recording_errors: Counter
    loop_lag: Histogram
    internal_errors: Counter
    trouble: Counter
    audio_gap: Counter
    audio_dropped: Counter
    limits: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "Metrics":
        def histogram(
            name: str, text: str, buckets: tuple[float, ...] = LATENCY_BUCKETS, **labels: Sequence[str]
        ) -> Histogram:
            return _with_all(Histogram(f"antiphon_{name}", text, [*labels], buckets=buckets, registry=registry), labels)

        def counter(name: str, text: str, **labels: Sequence[str]) -> Counter:
            return _with_all(Counter(f"antiphon_{name}", text, [*labels], registry=registry), labels)

        return cls(
            v2v=histogram(
                "v2v_seconds",
                "From the caller's last speech sample to the agent's first, by how the turn ended.",
                outcome=OUTCOMES,
            ),
            stage=histogram("stage_seconds", "The stages of the critical path of a turn.", stage=STAGES),
            ttfb=histogram("ttfb_seconds", "A service's first answer, as its caller sees it.", service=SERVICES),
            slow=counter(
                "slow_turns",
                "Turns over 1.1 times the recent median, by the stage that exceeded its own median the most.",
                stage=STAGES,
            ),
            turns=counter("turns", "Turns, by how they ended.", outcome=OUTCOMES),
            barge_in=histogram("barge_in_seconds", "From when a caller broke in to the agent's silence."),
            false_interruptions=counter("false_interruptions", "Times that an agent fell silent in vain, and went on."),
            speculations=counter(
                "speculations",
                "Answers begun before the turn was over, and what became of them.",
                event=("started", "committed", "dropped"),
            ),
            llm_calls=histogram("llm_calls_per_turn", "Times that a turn asked the language model.", CALL_BUCKETS),
            tool=histogram("tool_seconds", "What a tool took.", tool=(*TOOLS, OTHER_TOOL)),
            audio_late=histogram(
                "audio_ingress_lag_seconds",
                "How much later than at best a caller's audio came, when the turn was committed.",
                LAG_BUCKETS,
            ),
            underruns=counter("client_underruns", "Gaps in the agent's speech, as callers' players report them."),
            messages_refused=counter(
                "caller_messages_refused", "Messages of callers that were not let in.", reason=tuple(MESSAGES)
            ),
            audio_refused=counter(
                "caller_audio_refused", "Audio frames of callers that were not let in.", reason=tuple(AUDIO)
            ),
            sessions=Gauge("antiphon_sessions_active", "Conversations under way.", registry=registry),
            refused=counter("sessions_refused", "Conversations refused.", reason=REFUSALS),
            ended=counter("sessions_ended", "Conversations that are over, by who ended them.", reason=ENDINGS),
            empty=counter("empty_utterances", "Speech edges in which no words were heard."),
            recording_errors=counter(
                "recording_errors", "Recordings that failed, or from which audio was left out.", reason=REASONS
            ),
            loop_lag=histogram(
                "event_loop_lag_seconds", "How late the process runs what is due, four times a second.", LAG_BUCKETS
            ),
            audio_gap=counter("audio_gap_seconds", "Silence put in the place of callers' audio that did not come."),
            audio_dropped=counter("audio_dropped_seconds", "Callers' audio that came too late to be heard."),
            trouble=counter(
                "caller_trouble",
                "Dead air of over 3 s, answers that broke off, silence after an interruption, answers to itself.",
                kind=[kind.value for kind in Trouble],
            ),
            internal_errors=counter(
                "internal_errors", "Exceptions in instruments of a call, which go on without them.", where=INSTRUMENTS
            ),
            limits=counter("limits_reached", "Limits of calls that were reached.", limit=LIMITS),
        )

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


def _with_all(metric: M, labels: Mapping[str, Sequence[str]]) -> M:
    """The metric, with a series for every value of its label."""
    for values in labels.values():
        for value in values:
            metric.labels(value)
    return metric
