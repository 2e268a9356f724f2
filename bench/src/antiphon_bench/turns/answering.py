"""What it would have cost to answer each pause at once: the orchestrator's own rule and budget, replayed."""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon_orchestrator.turns.speculation import Budget, worth_answering

from .listening import Heard, Silence
from .scoring import Setting, committed

CALLS_PER_TURN = 1.75


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a conversation of `turns`: the language model's calls and the answers that were thrown away, per turn."""

    turns: int
    calls_per_turn: float
    drops_per_turn: float


def cost(found: Sequence[Heard], setting: Setting, calls_per_turn: float = CALLS_PER_TURN) -> Cost:
    """The utterances as one conversation's turns. A turn that is cut off ends there."""
    budget, calls, drops = Budget(calls_per_turn), 0, 0
    for each in found:
        for silence in each.silences:
            ends = committed(silence, setting)
            early = _worth(silence, ends and ends[0], setting.complete_at) and budget.spend()
            calls += early
            if ends is not None:
                if early:
                    budget.refund()
                calls += not early
                budget.turn_over()
                break
            drops += early
    turns = max(1, len(found))
    return Cost(len(found), calls / turns, drops / turns)


def _worth(silence: Silence, ends_ms: float | None, complete_at: float) -> bool:
    """Whether at any time before the turn was committed, or speech went on, the pause was worth answering."""
    if not silence.text:
        return False
    moments = [silence.text_ms, *(verdict.silence_ms + verdict.took_ms for verdict in silence.verdicts)]
    for moment in sorted(at for at in moments if at >= silence.text_ms):
        if ends_ms is not None and moment >= ends_ms:
            break
        known = [v for v in silence.verdicts if v.silence_ms + v.took_ms <= moment]
        if worth_answering(silence.text, known[-1].probability >= complete_at if known else None):
            return True
    return False
