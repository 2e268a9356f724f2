"""A caller that never tires: a spoken call every so often, and what it was like, for Prometheus."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from antiphon_runtime.metrics import LATENCY_BUCKETS

from .asr.wer import errors_between, normaliser
from .call import Call
from .caller import place_call
from .dead_air import Trouble, Troubles
from .errors import BadToken, CallDropped, CallError, NoSession, Refused, ServerFull, UnknownAgent, Unreachable

log = logging.getLogger(__name__)

# A call that takes longer is given up, and the next one is placed.
LONGEST_CALL_S = 300.0

Outcome = Literal["answered", "unanswered", "busy", "refused", "unreachable", "dropped"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FAILURES: dict[type[CallError], Outcome] = {
    ServerFull: "busy",
    BadToken: "refused",
    UnknownAgent: "refused",
    Refused: "refused",
    Unreachable: "unreachable",
    CallDropped: "dropped",
    NoSession: "dropped",
}


@dataclass(frozen=True)
class CanaryMetrics:
    """Metrics of the service as callers see it from outside. Unanswered turns count in `turns`, and in no latency."""

    v2v: Histogram
    calls: Counter
    turns: Counter
    words: Counter
    word_errors: Counter
    troubles: Counter
    dead_air_seconds: Counter
    healthy: Gauge
    last_call: Gauge

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "CanaryMetrics":
        metrics = cls(
            v2v=Histogram(
                "antiphon_canary_v2v_seconds",
                "From the caller's last speech sample to the agent's first as heard, by the recording.",
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            calls=Counter("antiphon_canary_calls", "Calls placed, by how they went.", ["outcome"], registry=registry),
            turns=Counter("antiphon_canary_turns", "Questions asked.", ["outcome"], registry=registry),
            words=Counter("antiphon_canary_words", "Words said.", registry=registry),
            word_errors=Counter(
                "antiphon_canary_word_errors", "Words that were not heard as they were said.", registry=registry
            ),
            troubles=Counter(
                "antiphon_canary_troubles", "What a caller suffered, by kind.", ["kind"], registry=registry
            ),
            dead_air_seconds=Counter(
                "antiphon_canary_dead_air_seconds",
                "Silence of more than 3 s after a turn of the caller's, in all.",
                registry=registry,
            ),
            healthy=Gauge("antiphon_canary_healthy", "1 when the last call was answered, else 0.", registry=registry),
            last_call=Gauge("antiphon_canary_last_call_timestamp_seconds", "When it ended.", registry=registry),
        )
        for outcome in OUTCOMES:
            metrics.calls.labels(outcome)
        for answered in ("answered", "unanswered"):
            metrics.turns.labels(answered)
        for kind in Trouble:
            metrics.troubles.labels(kind.value)
        return metrics

    def observe(self, outcome: Outcome, call: Call | None) -> None:
        """Counts a call; of one that broke off, what there was of it."""
        self.calls.labels(outcome).inc()
        troubles = call.measured.troubles if call else Troubles()
        self.healthy.set(outcome == "answered")
        self.last_call.set(time.time())
        self.dead_air_seconds.inc(troubles.dead_air_total_s)
        for kind in troubles.kinds:
            self.troubles.labels(kind.value).inc(troubles.count(kind))
        words = normaliser("en")
        for turn in call.turns if call else ():
            self.turns.labels("unanswered" if turn.heard_v2v_ms is None else "answered").inc()
            if turn.heard_v2v_ms is not None:
                self.v2v.observe(turn.heard_v2v_ms / 1000)
            said = words(turn.said)
            if said and turn.said != Path(turn.file).name:  # without a text beside it, a file is called by its name
                self.words.inc(len(said))
                self.word_errors.inc(errors_between(said, words(turn.heard)).count)


@dataclass(frozen=True, slots=True)
class Route:
    """Whom to call, and with what. `token` is asked for each call, because tokens are short-lived."""

    url: str
    files: Sequence[Path]
    agent: str | None = None
    token: Callable[[], str | None] = lambda: None


async def keep_calling(route: Route, metrics: CanaryMetrics, every_s: float) -> None:
    """Places a call every `every_s`, on time whatever the one before took, until cancelled. Calls never overlap."""
    start, number = time.monotonic(), 0.0
    while True:
        await call_once(route, metrics)
        number = max(number + 1, -(-(time.monotonic() - start) // every_s))
        await asyncio.sleep(start + number * every_s - time.monotonic())


async def call_once(route: Route, metrics: CanaryMetrics) -> Outcome:
    """One call. Whatever goes wrong with it is its outcome."""
    outcome: Outcome
    call: Call | None = None
    try:
        async with asyncio.timeout(LONGEST_CALL_S):
            call = await place_call(route.url, route.files, agent=route.agent, token=route.token())
        heard = all(turn.heard_v2v_ms is not None for turn in call.turns)
        outcome = "answered" if heard else "unanswered"
    except CallError as error:
        outcome, call = FAILURES.get(type(error), "dropped"), error.call
        log.warning("the call failed: %s", error)
    except TimeoutError:
        outcome = "dropped"
        log.warning("the call was given up after %g s", LONGEST_CALL_S)
    metrics.observe(outcome, call)
    if call and (kinds := call.measured.troubles.kinds):
        log.warning("a call was %s, with %s", outcome, ", ".join(kind.value.replace("_", " ") for kind in kinds))
    else:
        log.info("a call was %s", outcome)
    return outcome
