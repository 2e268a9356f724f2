"""Records of a finished turn and of a finished call, as written to the raw data."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """Outcome of a turn as its caller saw it. Only answered turns have a latency; every other one counts as a time-out.

    `wrong`: the transcript or the answer does not belong to the question. `early`: the agent spoke before the caller
    had finished. `dropped`: the connection broke. `refused`: the call was not accepted. `interrupted`: by this caller,
    as planned; counted if its answer had begun in time.
    """

    ANSWERED = "answered"
    INTERRUPTED = "interrupted"
    UNANSWERED = "unanswered"
    WRONG = "wrong"
    EARLY = "early"
    DROPPED = "dropped"
    REFUSED = "refused"


GOOD = (Outcome.ANSWERED, Outcome.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One question. Times in ms; `at_s` from the load's beginning, when the caller had finished.

    `v2v_ms` is from the caller's last speech sample to the first audible sample that came back, None when the turn is
    not good; `server` is the orchestrator's own account of it. `late_ms` is how late the worst of its frames was sent.
    `troubles` are the kinds that the analysis of recordings knows (`trouble.Trouble`), whatever the outcome is.
    """

    caller: int
    number: int
    question: str
    outcome: Outcome
    at_s: float
    v2v_ms: float | None
    barge_in_ms: float | None
    heard: str
    late_ms: float
    error: str = ""
    server: dict[str, Any] | None = None
    troubles: tuple[str, ...] = ()
    dead_air_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
