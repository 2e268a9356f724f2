"""When a policy would have ended each turn, and how often that was too early.

After eot-bench (https://github.com/livekit/eot-bench): dead air is the silence after the caller's end, a false cut-off
a turn that was ended before it. Settings are chosen on one part of the set and scored on the other.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from antiphon_orchestrator.turns.policy import FixedPause, Fused, Pause, SmartTurn, TurnPolicy

from .listening import MS, Heard, Silence

TICK_MS = 20
# The turn service's own edge, and the orchestrator's stop before which no policy is asked.
STOP_MS = 200
# Speech that has gone on is noticed this much later.
NOTICED_MS = 96
# Of a pause that began this much before the caller's end: a detector may place that end a little early.
SLACK_MS = 150
LONGEST_MS = 3000
SHIPPED_THRESHOLD = 0.5
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy with its numbers, and the probability from which a verdict is a complete one."""

    policy: TurnPolicy
    complete_at: float = SHIPPED_THRESHOLD


@dataclass(frozen=True, slots=True)
class Ended:
    """`dead_air_ms` is None when the caller was cut off."""

    name: str
    dead_air_ms: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """The share of turns cut off, and the mean silence after the others' end; each with its 95 % interval."""

    cut_off: float
    cut_off_interval: tuple[float, float]
    dead_air_ms: float
    dead_air_interval: tuple[float, float]


def ended(heard: Heard, setting: Setting) -> Ended:
    """When the policy would have ended this turn."""
    for silence in heard.silences:
        if (found := committed(silence, setting)) is None:
            continue
        silence_ms, reason = found
        if silence.sample < heard.end - SLACK_MS * MS:
            return Ended(heard.name, None, reason)
        return Ended(heard.name, silence.sample / MS + silence_ms - heard.end / MS, reason)
    return Ended(heard.name, LONGEST_MS, "never")


def committed(silence: Silence, setting: Setting) -> tuple[float, str] | None:
    """How far into the pause it is taken for the end, and why; None when speech goes on before."""
    last_ms = float(LONGEST_MS)
    if silence.resumed is not None:
        last_ms = (silence.resumed - silence.sample) / MS + NOTICED_MS
    silence_ms = float(STOP_MS)
    while silence_ms < last_ms:
        decision = setting.policy.decide(_known(silence, silence_ms, setting.complete_at))
        if decision.commit:
            return silence_ms, decision.reason
        silence_ms += TICK_MS
    return None


def _known(silence: Silence, silence_ms: float, complete_at: float) -> Pause:
    complete = None
    for verdict in silence.verdicts:
        if verdict.silence_ms + verdict.took_ms <= silence_ms:
            complete = verdict.probability >= complete_at
    text = silence.text if silence.text_ms <= silence_ms else None
    return Pause(silence_ms, complete, text)


def score(turns: Sequence[Ended], seed: int = 0) -> Score:
    """The shares and means, with intervals from DRAWS bootstrap samples of the turns."""
    draw = random.Random(seed)
    samples = [draw.choices(turns, k=len(turns)) for _ in range(DRAWS)]
    return Score(
        _cut_off(turns),
        interval([_cut_off(sample) for sample in samples]),
        _dead_air(turns),
        interval([_dead_air(sample) for sample in samples]),
    )


def _cut_off(turns: Sequence[Ended]) -> float:
    return sum(turn.dead_air_ms is None for turn in turns) / len(turns)


def _dead_air(turns: Sequence[Ended]) -> float:
    found = [turn.dead_air_ms for turn in turns if turn.dead_air_ms is not None]
    return statistics.mean(found) if found else 0.0


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % of the values in the middle."""
    ranked = sorted(values)
    return ranked[round(0.025 * (len(ranked) - 1))], ranked[round(0.975 * (len(ranked) - 1))]


def settings(name: str) -> Iterator[Setting]:
    """What is tried of a policy."""
    least, most = (200.0, 300.0, 400.0, 600.0, 800.0, 1100.0, 1400.0), (1000.0, 1300.0, 1600.0)
    thresholds = (0.3, 0.5, 0.7)
    match name:
        case "fixed-pause":
            yield from (Setting(FixedPause(pause_ms)) for pause_ms in range(200, 1650, 50))
        case "smart-turn":
            for min_ms, max_ms, at in product(least, most, thresholds):
                yield Setting(SmartTurn(min_ms=min_ms, no_verdict_ms=max(700.0, min_ms), max_ms=max_ms), at)
        case "fused":
            for min_ms, max_ms, at, hold_ms in product(least, most, thresholds, (900.0, 1300.0, 1600.0)):
                policy = Fused(min_ms=min_ms, question_ms=max(700.0, min_ms), hold_ms=hold_ms, max_ms=max_ms)
                yield Setting(policy, at)


SHIPPED: dict[str, Setting] = {
    "fixed-pause": Setting(FixedPause()),
    "smart-turn": Setting(SmartTurn()),
    "fused": Setting(Fused()),
}


def chosen(name: str, tuned: Sequence[Heard], bounded: str, most: float, least: str) -> Setting:
    """Of the policy's settings whose `bounded` figure on the tuned part is at most `most`, the one with the least
    `least`: each the name of a Score's figure. Where none keeps to it, the one that comes nearest."""
    scored = [(setting, [ended(each, setting) for each in tuned]) for setting in settings(name)]
    figures = [({"cut_off": _cut_off(turns), "dead_air_ms": _dead_air(turns)}, setting) for setting, turns in scored]
    within = [pair for pair in figures if pair[0][bounded] <= most]
    if within:
        return min(within, key=lambda pair: pair[0][least])[1]
    return min(figures, key=lambda pair: pair[0][bounded])[1]
