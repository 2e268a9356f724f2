"""Faults in what measures a call are not heard by its caller."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from platform_fixture import AVA, Platform, platform, until
from raw_caller import RawCaller, dialled, speech

from antiphon_bench.testing.soak import counted
from antiphon_orchestrator.agents import Phrases
from antiphon_orchestrator.ledger import Ledger
from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.observer import TimelineObserver
from antiphon_orchestrator.tracing import Traces
from antiphon_orchestrator.usual import Usual

APOLOGY, FAREWELL = "So sorry.", "I must go."
EVE = AVA.model_copy(update={"phrases": Phrases(apology=APOLOGY, farewell=FAREWELL, prompt="", goodbye="", filler="")})
# Each instrument's way in, and the label under which its faults are counted.
WAYS: dict[str, tuple[type, str, str]] = {
    "observer": (TimelineObserver, "_observe", "observer"),
    "observer's end": (TimelineObserver, "_finish", "observer"),
    "metrics": (Metrics, "observe", "metrics"),
    "explanations": (Usual, "explain", "metrics"),
    "ledger": (Ledger, "closed", "ledger"),
    "ledger's beginning": (Ledger, "begun", "traces"),
    "tracer": (Traces, "__init__", "traces"),
    "traces of turns": (Traces, "turn_begins", "traces"),
    "traces of calls": (Traces, "end", "traces"),
}


class Fault(Exception):
    """Raised in the place of work."""


def breaks(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, when: Callable[[], bool]) -> None:
    """Makes a method raise whenever `when` says so."""
    original = getattr(owner, name)

    def broken(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("tracer") is None and when():
            raise Fault(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, broken)


def said(at: Platform, session_id: str) -> list[str]:
    session = at.sessions.find(session_id)
    assert session
    messages = [one for one in session.context.get_messages() if one["role"] == "assistant"]
    return [str(one["content"]) for one in messages if one.get("content")]


async def ask(at: Platform, caller: RawCaller, session_id: str, answers: int) -> None:
    """A turn, heard to its end whatever the server reports of it."""
    await caller.say(speech())
    async with asyncio.timeout(60):
        while len(said(at, session_id)) < answers:
            await caller.quiet(600)


# All of them fail at once below; one by one they are tried by `make soak`.
@pytest.mark.parametrize("way", counted(full=tuple(WAYS), reduced=("observer", "metrics")))
async def test_an_instrument_that_always_fails_leaves_the_call_as_it_was(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, where = WAYS[way]
    breaks(monkeypatch, owner, name, lambda: True)
    async with platform(agents={"eve": EVE}) as at:
        async with dialled(at.url) as caller:
            await caller.until_session()
            await ask(at, caller, caller.session_id, 1)
            await at.fleet.stop("llm")
            await ask(at, caller, caller.session_id, 2)
            heard = said(at, caller.session_id)
        await until(at.idle)
    assert len(heard) == 2 and heard[0].startswith("I heard") and heard[1] == APOLOGY
    assert at.sample("antiphon_internal_errors_total", where=where) > 0


async def test_the_call_ends_itself_without_any_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, _ in WAYS.values():
        breaks(monkeypatch, owner, name, lambda: True)
    async with platform(agents={"eve": EVE}) as at:
        async with dialled(at.url) as caller:
            await caller.until_session()
            await until(lambda: at.rpcs("tts", "ok") == 2)  # it has its phrases ready
            await at.fleet.stop("llm")
            for number in (1, 2):
                await ask(at, caller, caller.session_id, number)
            await caller.say(speech())
            await caller.hung_up_on()
            heard = said(at, caller.session_id)
        await until(at.idle)
    assert heard == [APOLOGY, APOLOGY, FAREWELL]


@pytest.mark.parametrize("seed", range(counted(full=5, reduced=1)))
async def test_instruments_that_fail_at_random_are_not_noticed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, faults = random.Random(seed), list[bool]()

    def at_random() -> bool:
        faults.append(draw.random() < 0.3)
        return faults[-1]

    for owner, name, _ in WAYS.values():
        breaks(monkeypatch, owner, name, at_random)
    async with platform(agents={"eve": EVE}) as at:
        async with dialled(at.url) as caller:
            await caller.until_session()
            for number in (1, 2, 3):
                await ask(at, caller, caller.session_id, number)
            heard = said(at, caller.session_id)
        await until(at.idle)
    assert len(heard) == 3 and all(one.startswith("I heard") for one in heard)
    counted_faults = sum(at.sample("antiphon_internal_errors_total", where=where) for _, _, where in WAYS.values())
    assert any(faults) and counted_faults > 0
