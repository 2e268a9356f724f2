"""The account of a session's turns: kept, traced and logged."""

import logging
import time
from typing import Any

from pipecat.clocks.base_clock import BaseClock

from .session import Session
from .timeline import Turn

log = logging.getLogger(__name__)


class Ledger:
    """Told of each turn as it begins and as it closes, on the pipeline's clock."""

    def __init__(self, session: Session, clock: BaseClock) -> None:
        self._session = session
        self._clock = clock

    def begun(self, turn: Turn, start_ns: int) -> None:
        """Speech of the turn began."""
        self._session.traces.turn_begins(turn, time.time_ns() - self._clock.get_time() + start_ns)

    def empty(self, turn_id: int) -> None:
        """There were no words in it."""
        self._session.traces.turn_is_none(turn_id)

    def closed(self, turn: Turn) -> None:
        self._session.turns.append(turn)
        self._session.traces.turn_over(turn, self._clock.get_time())
        log.info("turn %s %s: %s", turn.turn_id, turn.outcome, _summary(turn), extra={"fields": _fields(turn)})


def _fields(turn: Turn) -> dict[str, Any]:
    """Machine-readable fields of the turn's log line; they contain nothing that was said."""
    about: dict[str, Any] = {"turn_id": turn.turn_id, "trace_id": turn.trace_id, "outcome": turn.outcome}
    if turn.v2v_ms is not None:
        about |= {"v2v_ms": round(turn.v2v_ms, 1), "stages_ms": {n: round(ms, 1) for n, ms in turn.stage_ms.items()}}
    return {name: value for name, value in about.items() if value}


def _summary(turn: Turn) -> str:
    if turn.v2v_ms is None:
        return turn.error or (turn.commit_reason if turn.first_audio_ns else "no answer")
    stages = " ".join(f"{stage.name}={(stage.end_ns - stage.start_ns) / 1e6:.0f}" for stage in turn.stages)
    return f"v2v={turn.v2v_ms:.0f} ms: {stages}"
