"""Usual latencies of turns, and the stage that made a turn slower."""

import statistics
from collections import deque

from .timeline import STAGES, TYPED, Slowed, Turn

REMEMBERED_TURNS = 200
# With fewer there is nothing usual yet.
FEWEST_TURNS = 5


class Usual:
    """Remembers the stages of the last answered turns of a process."""

    def __init__(self) -> None:
        self._stages: dict[str, deque[float]] = {name: deque(maxlen=REMEMBERED_TURNS) for name in STAGES}
        self._v2v: deque[float] = deque(maxlen=REMEMBERED_TURNS)

    def explain(self, turn: Turn) -> None:
        """Notes in the turn what slowed it, against those before it. An answered one becomes part of what is usual."""
        slowed = (
            self._slowed(turn) if turn.stages and turn.v2v_ms is not None and len(self._v2v) >= FEWEST_TURNS else None
        )
        turn.slowed_by, turn.why = slowed, sentence(turn, slowed)
        if turn.v2v_ms is not None and turn.outcome == "answered":
            self._v2v.append(turn.v2v_ms)
            for name, ms in turn.stage_ms.items():
                self._stages[name].append(ms)

    def _slowed(self, turn: Turn) -> Slowed:
        took = turn.stage_ms
        usual = {name: statistics.median(seen) if (seen := self._stages[name]) else 0.0 for name in took}
        name = max(took, key=lambda one: took[one] - usual[one])
        return Slowed(name, took[name], usual[name], statistics.median(self._v2v), len(self._v2v))


def sentence(turn: Turn, slowed: Slowed | None) -> str:
    """Why the turn took as long as it did, for people."""
    if turn.stalled:
        return f"It was {turn.outcome}, and the caller's audio stalled within it: its time cannot be told."
    if turn.commit_reason == TYPED and turn.first_audio_ns is not None:
        return f"It was typed, and {turn.outcome}: what a spoken turn takes is not known of it."
    if turn.v2v_ms is None:
        return f"It was {turn.outcome}: {turn.error or 'the agent was not heard'}."
    if slowed is None:
        longest, ms = max(turn.stage_ms.items(), key=lambda one: one[1], default=("the line", turn.v2v_ms))
        return (
            f"It took {turn.v2v_ms:.0f} ms, the most of it in {longest} ({ms:.0f} ms); what is usual is not known yet."
        )
    usual = f"the median of the last {slowed.turns} turns is {slowed.usual_v2v_ms:.0f} ms"
    if turn.v2v_ms <= slowed.usual_at_most_ms:
        return f"It took {turn.v2v_ms:.0f} ms, as is usual: {usual}."
    more = slowed.ms - slowed.usual_ms
    waited = f", because the turn policy waited: {turn.held_for}" if turn.held_for and slowed.stage == "verdict" else ""
    return (
        f"It took {turn.v2v_ms:.0f} ms, where {usual}: {slowed.stage} took {slowed.ms:.0f} ms, "
        f"{more:.0f} ms more than its own usual {slowed.usual_ms:.0f} ms{waited}."
    )
