"""Everything in a call has an end, and the caller is told."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams
from platform_fixture import AVA, Platform, platform, until
from raw_caller import RawCaller, dialled, frames_pb2, silence, speech
from websockets.exceptions import ConnectionClosed

import antiphon_llm.backends.stub as llm_stub
from antiphon_llm.backends import Done, Event, Reason, Text, Usage
from antiphon_orchestrator import tools
from antiphon_orchestrator.agents import Agent, Phrases
from antiphon_orchestrator.manners import closing
from antiphon_runtime.testing import manual_timers
from antiphon_tts.backends.stub import word_ms

PROMPT, GOODBYE, TIME_UP, APOLOGY = "Still there?", "Bye.", "Our time is over.", "So sorry."
PHRASES = Phrases(apology=APOLOGY, farewell="", filler="", prompt=PROMPT, goodbye=GOODBYE, time_up=TIME_UP)
EVE = AVA.model_copy(update={"phrases": PHRASES})
PHRASE_COUNT = 4  # each is one Synthesize
LONG_S = 2000  # its timer is fired by the test
SOME_FRAMES = 50  # of audio: the first words of an answer
TIME_UP_MS = sum(word_ms(word) for word in TIME_UP.split())


@asynccontextmanager
async def calling(**agent: Any) -> AsyncIterator[tuple[Platform, RawCaller, LLMContext]]:
    eve = EVE.model_copy(update=agent)
    async with platform(agents={"eve": Agent.model_validate(eve.model_dump())}) as at, dialled(at.url) as caller:
        await caller.until_session()
        session = at.sessions.find(caller.session_id)
        assert session
        yield at, caller, session.context


def said(context: LLMContext) -> list[str]:
    messages = [one for one in context.get_messages() if one["role"] == "assistant"]
    return [str(one["content"]) for one in messages if one.get("content")]


def limit(at: Platform, name: str) -> float:
    return at.sample("antiphon_limits_reached_total", limit=name)


async def until_hung_up(caller: RawCaller, pcm: bytes) -> float:
    """Sends `pcm` again and again until the server hangs up. Gives how many ms of audio it sent meanwhile."""
    heard_bytes = 0

    async def listen() -> None:
        nonlocal heard_bytes
        try:
            while True:
                frame = frames_pb2.Frame.FromString(await caller.socket.recv())
                if frame.WhichOneof("frame") == "audio":
                    heard_bytes += len(frame.audio.audio)
        except ConnectionClosed:
            return

    listening = asyncio.create_task(listen(), name="listen")
    while not listening.done():
        try:
            await caller.say(pcm)
        except ConnectionClosed:
            break
        await asyncio.wait((listening,), timeout=len(pcm) / 32_000)
    await listening
    return heard_bytes / 48


@pytest.mark.parametrize("line", ["silent", "dead", "speaking"])
async def test_at_its_limit_a_call_ends_with_a_phrase_that_is_heard_to_its_end(line: str) -> None:
    async with calling(max_call_s=1.5) as (at, caller, context):
        sound = {"silent": silence(0.1), "speaking": speech(0.1)}
        if line == "dead":  # a client that sends nothing at all
            await caller.hung_up_on()
        else:
            assert await until_hung_up(caller, sound[line]) >= 0.95 * TIME_UP_MS
        await until(at.idle)
        assert said(context) == [TIME_UP] and limit(at, "call_length") == 1
        assert at.sample("antiphon_sessions_ended_total", reason="limit") == 1


async def test_an_agent_that_speaks_at_that_moment_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "word " * 90)  # half a minute
    monkeypatch.setattr(closing, "READY_BEFORE_S", LONG_S)  # one timer, from the call's beginning to its end
    with manual_timers() as timers:
        async with calling(max_call_s=LONG_S) as (at, caller, context):
            await until(lambda: at.rpcs("tts", "ok") == PHRASE_COUNT)
            await caller.say(speech() + silence(1.0))
            for _ in range(SOME_FRAMES):
                await caller.until_audio()
            timers.fire()
            await until_hung_up(caller, silence(0.1))
            await until(at.idle)
            first, last = said(context)
            assert 0 < first.count("word") < 60 and last == TIME_UP


async def test_a_voice_that_is_down_does_not_keep_the_call() -> None:
    async with calling(max_call_s=8.0) as (at, caller, _):
        await until(lambda: at.rpcs("tts", "ok") >= 4)  # all there is to be learned
        await at.fleet.stop("tts")
        await caller.hung_up_on()
        await until(at.idle)
    async with platform(agents={"eve": EVE.model_copy(update={"max_call_s": 2.0})}) as at:
        await at.fleet.stop("tts")
        async with dialled(at.url) as caller:
            await caller.hung_up_on()
            await until(at.idle)
            assert limit(at, "call_length") == 1


async def test_a_caller_who_never_speaks_nor_sends_is_asked_for_without_a_greeting_and_then_left() -> None:
    with manual_timers() as timers:
        async with calling(idle_after_s=LONG_S) as (at, caller, context):
            await until(lambda: at.rpcs("tts", "ok") == PHRASE_COUNT - 1)  # TIME_UP is learned later
            over = asyncio.create_task(caller.hung_up_on(), name="hear")
            for asked_before in range(3):
                await until(lambda n=asked_before: len(said(context)) == n and timers.lengths_s == [LONG_S])
                timers.fire()
            await over
            await until(at.idle)
            assert said(context) == [PROMPT, PROMPT, GOODBYE] and limit(at, "silent_caller") == 1
            assert at.sample("antiphon_sessions_ended_total", reason="agent") == 1


async def test_0_turns_the_prompts_off() -> None:
    async with calling(idle_after_s=0, max_call_s=2.5) as (at, caller, context):
        await caller.hung_up_on()
        await until(at.idle)
        assert said(context) == [TIME_UP] and limit(at, "silent_caller") == 0


async def test_a_tool_without_a_result_becomes_an_error_for_the_model_and_the_call_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forget(params: FunctionCallParams) -> None:
        """Make tea."""

    monkeypatch.setitem(tools.TOOLS, "forget", forget)
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "tool:forget {}|There is no tea.")
    async with calling(tools=("forget",), tool_timeout_s=0.5) as (at, caller, context):
        report = await caller.turn()
        assert (report["outcome"], report["tools"]) == ("answered", ["forget"])
        (result,) = [one["content"] for one in context.get_messages() if one["role"] == "tool"]
        assert result == '{"error": "no result within 0.5 s"}' and limit(at, "tool_timeout") == 1
        assert said(context) == ["There is no tea."]


async def test_a_model_that_calls_tools_for_ever_answers_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "tool:get_time {}")
    async with calling(tools=("get_time",), max_tool_rounds=3) as (at, caller, context):
        report = await caller.turn()
        assert report["outcome"] == "answered" and report["tools"] == ["get_time"] * 3
        assert limit(at, "tool_rounds") == 1 and "IN_PROGRESS" not in str(context.get_messages())


def model_says(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, llm_stub.Call | None]) -> None:
    """Have the stub answer so, whatever it is asked and allowed; the last one again and again."""
    number = itertools.count()

    async def events(_self: Any, _generation: Any, _grants: Any) -> AsyncGenerator[Event]:
        text, call = answers[min(next(number), len(answers) - 1)]
        for word in text.split():
            yield Text(f"{word} ")
            await asyncio.sleep(0)
        if call:
            yield call
        yield Done(Reason.TOOL_CALLS if call else Reason.STOP, Usage(1, 0, 1), 0.0, 0.0, 0.0)

    monkeypatch.setattr(llm_stub.StubModel, "_events", events)


async def test_a_call_that_waits_behind_speech_is_cancelled_in_the_context_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def brew(params: FunctionCallParams) -> None:
        """Make tea."""
        await asyncio.Event().wait()

    monkeypatch.setitem(tools.TOOLS, "brew", brew)
    call = llm_stub.Call("call_0", "brew", "{}")
    model_says(monkeypatch, ("Let me look that up for you right now in our large system.", call), ("Good.", None))
    agent = {"tools": ("brew",), "llm_calls_per_turn": 1.0, "tool_timeout_s": 30.0}
    async with calling(**agent) as (_, caller, context):
        await caller.say(speech() + silence(1.0))
        await caller.until_audio()
        await caller.say(silence(0.3))
        report = await caller.turn(speech(1.0))
        if report["outcome"] == "interrupted":
            report = await caller.report()
        assert report["outcome"] == "answered"
        (result,) = [one["content"] for one in context.get_messages() if one["role"] == "tool"]
        assert result == "CANCELLED"
        assert said(context)[-1] == "Good."


async def test_a_model_that_does_not_stop_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    model_says(monkeypatch, ("word " * 5000, None))
    async with calling(max_token_count=10, llm_calls_per_turn=1.0) as (at, caller, context):
        report = await caller.turn()
        assert report["outcome"] == "answered" and 10 <= said(context)[-1].count("word") <= 20
        assert limit(at, "answer_tokens") == 1
        await until(lambda: at.slots_used()["llm"] == 0)


async def test_a_model_that_calls_tools_all_the_same_is_apologized_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model_says(monkeypatch, ("", llm_stub.Call("call_0", "get_time", "{}")))
    async with calling(tools=("get_time",), max_tool_rounds=2, llm_calls_per_turn=1.0) as (at, caller, context):
        report = await caller.turn()
        assert (report["outcome"], report["apologized"]) == ("failed", True)
        assert report["error"] == "llm: tools called after 2 rounds of them"
        await caller.quiet(400)
        assert said(context) == [APOLOGY] and limit(at, "tool_rounds") == 1
        results = [one["content"] for one in context.get_messages() if one["role"] == "tool"]
        assert len(results) == 2 and "IN_PROGRESS" not in results
