"""Whole calls on stubs: what the caller hears and is told, and what is left when they have hung up."""

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from itertools import pairwise
from pathlib import Path
from types import BuiltinMethodType
from typing import Any

import httpx
import numpy as np
import pytest
from platform_fixture import AVA, Platform, platform, until
from raw_caller import RawCaller, dialled, silence, speech
from websockets.exceptions import ConnectionClosedOK

from antiphon_bench import Call, place_call
from antiphon_orchestrator.agents import Agent

HEARD = ["One.", "Two.", "Three."]


@pytest.fixture(autouse=True)
def short_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls take as long as what is said in them."""
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", "|".join(HEARD))
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "Yes: {last}")


async def timelines(at: Platform, call: Call) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{at.page}/api/sessions/{call.session_id}")
    assert answer.status_code == 200
    return list(answer.json()["turns"])


async def test_the_stages_of_a_turn_tile_its_v2v_and_are_the_same_wherever_they_are_told(hello: Path) -> None:
    async with platform() as at:
        call = await place_call(at.url, [hello])
        (turn,), (told,) = call.turns, await timelines(at, call)

        assert (turn.outcome, turn.heard, turn.answered) == ("answered", HEARD[0], f"Yes: {HEARD[0]}")
        assert [stage.name for stage in turn.stages] == [
            "pause", "verdict", "transcript", "llm", "clause", "tts", "transport",
        ]  # fmt: skip
        assert turn.stages[0].start_ms == 0
        assert all(one.end_ms == two.start_ms for one, two in pairwise(turn.stages))
        assert turn.stages[-1].end_ms == turn.v2v_ms

        assert told["v2v_ms"] == turn.v2v_ms
        assert told["stages"] == [
            {"name": stage.name, "start_ms": stage.start_ms, "end_ms": stage.end_ms} for stage in turn.stages
        ]
        assert turn.v2v_ms is not None
        assert at.sample("antiphon_turns_total", outcome="answered") == 1
        assert at.sample("antiphon_v2v_seconds_sum", outcome="answered") * 1000 == pytest.approx(turn.v2v_ms, abs=0.01)
        for stage in turn.stages:
            counted_ms = at.sample("antiphon_stage_seconds_sum", stage=stage.name) * 1000
            assert counted_ms == pytest.approx(stage.end_ms - stage.start_ms, abs=0.01)
        for service in ("asr", "llm", "tts", "turn"):
            assert at.sample("antiphon_ttfb_seconds_count", service=service) >= 1


async def test_what_the_server_says_of_its_v2v_is_what_the_caller_hears(hello: Path) -> None:
    async with platform() as at:
        call = await place_call(at.url, [hello])
    (turn,) = call.turns
    assert turn.v2v_ms is not None and turn.heard_v2v_ms is not None
    # Between the two lie a tick of the caller's microphone and one of its loudspeaker, and how late they were.
    assert -20 <= turn.heard_v2v_ms - turn.v2v_ms <= 60 + 3 * call.line.late_ms


async def test_a_conversation_of_several_turns_is_remembered_in_order(hello: Path) -> None:
    async with platform() as at:
        call = await place_call(at.url, [hello] * 3)
        session = at.sessions.find(call.session_id)

        assert [turn.heard for turn in call.turns] == HEARD[:3]
        assert [turn.outcome for turn in call.turns] == ["answered"] * 3
        assert [turn.turn_ids for turn in call.turns] == [("1",), ("2",), ("3",)]
        assert session and session.context
        assert [(message["role"], message["content"]) for message in session.context.get_messages()] == [
            pair for text in HEARD[:3] for pair in (("user", text), ("assistant", f"Yes: {text}"))
        ]


async def test_an_agent_with_a_greeting_speaks_first(hello: Path) -> None:
    async with platform(agents={"ava": AVA.model_copy(update={"greeting": "Good morning."})}) as at:
        call = await place_call(at.url, [hello])
        session = at.sessions.find(call.session_id)
        assert session and session.context
        first = session.context.get_messages()[0]

    assert (first["role"], first["content"]) == ("assistant", "Good morning.")
    agent, caller = call.measured.turns[0], call.recording[:, 0]
    assert agent.outcome == "answered"
    greeted_until = round(agent.caller_start_s * 24_000)
    assert np.abs(call.recording[:greeted_until, 1]).max() > 1000
    assert np.abs(caller[: greeted_until - 2400]).max() < 1000
    assert [turn.outcome for turn in call.turns] == ["answered"]


async def test_each_of_two_agents_answers_as_itself(hello: Path) -> None:
    bob = Agent(system_prompt="You are Bob.", greeting="Bob here.")
    async with platform(agents={"ava": AVA, "bob": bob}) as at:
        calls = await asyncio.gather(
            *(place_call(at.url, [hello], agent=name) for name in ("ava", "bob")), place_call(at.url, [hello])
        )
        begins = []
        for call in calls:
            session = at.sessions.find(call.session_id)
            assert session and session.context
            begins.append(session.context.get_messages()[0]["content"])

    assert [call.agent for call in calls] == ["ava", "bob", "ava"]
    assert begins == [HEARD[0], "Bob here.", HEARD[0]]
    assert [turn.outcome for call in calls for turn in call.turns] == ["answered"] * 3


async def test_a_tool_is_called_once_and_its_result_is_spoken(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "tool:get_time {}|It is late.")
    async with platform(agents={"ava": AVA.model_copy(update={"tools": ("get_time",)})}) as at:
        call = await place_call(at.url, [hello])
        (told,) = await timelines(at, call)
        session = at.sessions.find(call.session_id)
        assert session and session.context
        messages = session.context.get_messages()

    (turn,) = call.turns
    assert (turn.outcome, turn.answered) == ("answered", "It is late.")
    # On a busy machine an answer may have been begun too early, and withdrawn: that is one call more.
    assert (told["tools"], told["llm_calls"] - told["dropped"]) == (["get_time"], 2)
    assert [stage.name for stage in turn.stages] == [
        "pause", "verdict", "transcript", "llm", "tool", "llm", "clause", "tts", "transport",
    ]  # fmt: skip
    assert all(one.end_ms == two.start_ms for one, two in pairwise(turn.stages))
    assert turn.stages[-1].end_ms == turn.v2v_ms
    results = [message for message in messages if message["role"] == "tool"]
    assert len(results) == 1 and "date" in results[0]["content"]


async def test_calls_at_once_each_have_their_own_conversation(hello: Path) -> None:
    async with platform() as at:
        calls = await asyncio.gather(*(place_call(at.url, [hello] * count) for count in (1, 2, 1, 2)))
        await until(at.idle)

    assert len({call.session_id for call in calls}) == 4
    for call in calls:
        assert [turn.heard for turn in call.turns] == HEARD[: len(call.turns)]
        assert {turn.outcome for turn in call.turns} == {"answered"}


async def before_anything(_: RawCaller) -> None:
    pass


async def after_hello(caller: RawCaller) -> None:
    await caller.until_session()


async def while_speaking(caller: RawCaller) -> None:
    await caller.until_session()
    await caller.say(speech(0.3))


async def while_thinking(caller: RawCaller) -> None:
    await caller.until_session()
    await caller.say(speech() + silence(0.25))


async def while_answering(caller: RawCaller) -> None:
    await while_thinking(caller)
    await caller.until_audio()


# The caches of `isinstance` in abstract classes; timers that were cancelled and are not due yet.
SWEPT_LATER = (weakref.ReferenceType, BuiltinMethodType, asyncio.TimerHandle, Context)
MOMENTS = (before_anything, after_hello, while_speaking, while_thinking, while_answering)


async def hang_up(at: Platform, moment: Callable[[RawCaller], Awaitable[None]], *, rudely: bool) -> None:
    async with dialled(at.url) as caller:
        await moment(caller)
        if rudely:
            caller.vanish()


async def hang_up_at_every_moment(at: Platform, rounds: int) -> None:
    for _ in range(rounds):
        for rudely in (False, True):
            for moment in MOMENTS:
                await hang_up(at, moment, rudely=rudely)


def tasks_left(before: set["asyncio.Task[Any]"]) -> list[str]:
    """List the tasks started since `before`, except gRPC's: its servers renew the task that waits for the next RPC."""
    return [repr(task) for task in asyncio.all_tasks() - before if "grpc" not in repr(task.get_coro())]


async def settled(at: Platform, before: set["asyncio.Task[Any]"]) -> None:
    await until(at.idle, timeout_s=60)
    await until(lambda: not tasks_left(before), timeout_s=60)


def census() -> Counter[str]:
    """Count the live objects of each class, except those that Python itself creates and collects at any time."""
    gc.collect()
    classes = Counter(type(one) for one in gc.get_objects())
    return Counter({f"{one.__module__}.{one.__qualname__}": n for one, n in classes.items() if one not in SWEPT_LATER})


async def test_sixty_calls_hung_up_at_any_moment_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon_orchestrator.sessions.REMEMBERED", 3)
    async with platform() as at:
        before = asyncio.all_tasks()
        await hang_up_at_every_moment(at, rounds=2)  # what is made once, at first use, is there after these
        await settled(at, before)
        there = census()

        await hang_up_at_every_moment(at, rounds=4)
        await settled(at, before)

        # What one call in four left behind would be ten objects by now.
        grown = {name: count - there[name] for name, count in census().items() if count - there[name] >= 10}
        assert grown == {}
        assert at.sample("antiphon_sessions_active") == 0


async def test_calls_hung_up_at_once_leave_nothing_behind() -> None:
    async with platform() as at:
        before = asyncio.all_tasks()
        for rudely in (False, True):
            await asyncio.gather(*(hang_up(at, moment, rudely=rudely) for moment in MOMENTS[1:]))
        await settled(at, before)


async def test_calls_are_hung_up_when_the_server_ends() -> None:
    async with platform() as at:
        before = asyncio.all_tasks()
        async with asyncio.TaskGroup() as tasks:
            for moment in MOMENTS[1:]:
                tasks.create_task(left_hanging(at.url, moment))
            await until(lambda: at.sessions.active == len(MOMENTS) - 1)
            await until(lambda: at.rpcs("llm", "ok") >= 2)
            await at.sessions.hang_up()
        await settled(at, before)


async def left_hanging(url: str, moment: Callable[[RawCaller], Awaitable[None]]) -> None:
    async with dialled(url) as caller:
        with suppress(ConnectionClosedOK):  # the server may end before that moment comes
            await moment(caller)
        await caller.hung_up_on()
