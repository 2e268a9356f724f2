"""Timeline of each turn, on one clock.

Times are in ms from the end of the caller's speech, on the pipeline's monotonic clock. `spans` are all events of the
turn and may overlap; `stages` are the critical path, each beginning where the one before ended, so that they tile the
voice-to-voice time exactly.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

# The `commit_reason` of a turn that was not spoken.
TYPED = "typed"
Outcome = Literal["answered", "interrupted", "hung_up", "stalled", "unanswered", "failed"]
# Within this of the recent median, a turn is as fast as usual.
MUCH = 1.1
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
# The stages, in the order of a turn without tools.
STAGES = ("pause", "verdict", "transcript", "llm", "tool", "clause", "tts", "transport")


@dataclass(frozen=True, slots=True)
class Span:
    """Something that happened, in nanoseconds of the pipeline's clock."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Slowed:
    """The stage that exceeded its own recent median the most, with the medians, in ms, of the last `turns` turns."""

    stage: str
    ms: float
    usual_ms: float
    usual_v2v_ms: float
    turns: int

    @property
    def usual_at_most_ms(self) -> float:
        """Longest latency in ms that still counts as usual."""
        return MUCH * self.usual_v2v_ms

    def to_json(self) -> dict[str, Any]:
        return {name: _rounded(value) if name.endswith("ms") else value for name, value in asdict(self).items()}


@dataclass(slots=True)
class Turn:
    """One turn: from the caller's first word until the agent's last."""

    turn_id: int
    outcome: Outcome | None = None
    heard: str = ""
    answered: str = ""
    error: str = ""
    commit_reason: str = ""
    held_for: str = ""
    llm_calls: int = 0
    # Whether the answer was begun before the turn was over, and how many such answers were thrown away.
    speculated: bool = False
    dropped: int = 0
    # Whether the agent said sorry, or goodbye, because no answer came.
    apologized: bool = False
    tools: list[str] = field(default_factory=list)
    # How long the agent was still heard after the caller broke in, and how often it fell silent in vain.
    barge_in_ms: float | None = None
    false_interruptions: int = 0
    # How far the caller's audio lagged when the turn was committed.
    audio_late_ms: float = 0.0
    # True if the line stalled during the turn, which then has no meaningful latency.
    stalled: bool = False
    trace_id: str = ""
    # What made it slower than usual, and the same for people.
    slowed_by: Slowed | None = None
    why: str = ""
    speech_end_ns: int | None = None
    first_audio_ns: int | None = None
    spans: list[Span] = field(default_factory=list)
    stages: list[Span] = field(default_factory=list)

    def stage(self, name: str, end_ns: int) -> None:
        """Adds the stage that ends at `end_ns`, from where the last one ended. One that began later is empty."""
        if self.speech_end_ns is None or self.first_audio_ns is not None:
            return
        start_ns = self.stages[-1].end_ns if self.stages else self.speech_end_ns
        self.stages.append(Span(name, start_ns, max(start_ns, end_ns)))

    def span(self, name: str, start_ns: int, end_ns: int) -> None:
        self.spans.append(Span(name, start_ns, max(start_ns, end_ns)))

    def reached(self, name: str) -> bool:
        return any(stage.name == name for stage in self.stages)

    @property
    def stage_ms(self) -> dict[str, float]:
        """Total time in ms of each stage; a turn with a tool has some of them twice."""
        took: dict[str, float] = {}
        for stage in self.stages:
            took[stage.name] = took.get(stage.name, 0.0) + (stage.end_ns - stage.start_ns) / 1e6
        return took

    @property
    def v2v_ms(self) -> float | None:
        """From the caller's last sample to the agent's first; None without one, or when the line stalled."""
        spoken = self.commit_reason != TYPED and not self.stalled
        if self.first_audio_ns is None or self.speech_end_ns is None or not spoken:
            return None
        return (self.first_audio_ns - self.speech_end_ns) / 1e6

    @property
    def slow(self) -> bool:
        """True if the turn was much slower than usual."""
        v2v_ms = self.v2v_ms
        return self.slowed_by is not None and v2v_ms is not None and v2v_ms > self.slowed_by.usual_at_most_ms

    def to_json(self) -> dict[str, Any]:
        zero = self.speech_end_ns or 0
        return {
            "turn_id": self.turn_id,
            "outcome": self.outcome,
            "heard": self.heard,
            "answered": self.answered,
            "error": self.error,
            "commit_reason": self.commit_reason,
            "held_for": self.held_for,
            "llm_calls": self.llm_calls,
            "speculated": self.speculated,
            "dropped": self.dropped,
            "apologized": self.apologized,
            "tools": self.tools,
            "barge_in_ms": _rounded(self.barge_in_ms),
            "false_interruptions": self.false_interruptions,
            "audio_late_ms": _rounded(self.audio_late_ms),
            "trace_id": self.trace_id,
            "slowed_by": self.slowed_by.to_json() if self.slowed_by else None,
            "why": self.why,
            "v2v_ms": _rounded(self.v2v_ms),
            "stages": [_json(span, zero) for span in self.stages if self.v2v_ms is not None],
            "spans": [_json(span, zero) for span in self.spans],
        }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)


def _json(span: Span, zero_ns: int) -> dict[str, Any]:
    return {
        "name": span.name,
        "start_ms": _rounded((span.start_ns - zero_ns) / 1e6),
        "end_ms": _rounded((span.end_ns - zero_ns) / 1e6),
    }


class TurnListener(Protocol):
    """Receives what becomes of a call's turns."""

    def begun(self, turn: Turn, start_ns: int) -> None: ...

    def empty(self, turn_id: int) -> None: ...

    async def closed(self, turn: Turn, waiting: bool) -> None: ...
