"""What happened in each turn, on one clock.

Times are milliseconds from the end of the caller's speech, on the pipeline's monotonic clock. `spans` are all that
happened and may overlap; `stages` are the critical path, each beginning where the one before ended, so that they
tile the voice-to-voice time exactly.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["answered", "interrupted", "unanswered", "failed"]
# The stages, in the order of a turn without tools.
STAGES = ("pause", "verdict", "transcript", "llm", "tool", "clause", "tts", "transport")


@dataclass(frozen=True, slots=True)
class Span:
    """Something that happened, in nanoseconds of the pipeline's clock."""

    name: str
    start_ns: int
    end_ns: int


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
    tools: list[str] = field(default_factory=list)
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
    def v2v_ms(self) -> float | None:
        """From the caller's last sample to the agent's first, None when there was no answer."""
        if self.first_audio_ns is None or self.speech_end_ns is None:
            return None
        return (self.first_audio_ns - self.speech_end_ns) / 1e6

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
            "tools": self.tools,
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
