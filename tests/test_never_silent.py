"""Whatever breaks, the caller hears something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams
from platform_fixture import AVA, Platform, platform, until
from raw_caller import RawCaller, dialled, speech
from websockets.exceptions import ConnectionClosed

import antiphon_llm.backends.stub as llm_stub
from antiphon_orchestrator import tools
from antiphon_orchestrator.agents import Agent, Phrases
from antiphon_runtime.latency import Latency
from antiphon_runtime.testing import manual_timers

APOLOGY, FAREWELL, PROMPT, GOODBYE, FILLER = "So sorry.", "I must go.", "Still there?", "Bye.", "Moment."
EVE = AVA.model_copy(
    update={"phrases": Phrases(apology=APOLOGY, farewell=FAREWELL, prompt=PROMPT, goodbye=GOODBYE, filler=FILLER)}
)
QUIET_MS = 400
LONG_S = 2000  # its timer is fired by the test


class Said:
    """Answers of the agent, as far as its context remembers them."""

    def __init__(self, context: LLMContext) -> None:
        self._context = context

    def now(self) -> list[str]:
        messages = [one for one in self._context.get_messages() if one["role"] == "assistant"]
        return [str(one["content"]) for one in messages if one.get("content")]


@asynccontextmanager
async def calling(agent: Agent = EVE, **settings: Any) -> AsyncIterator[tuple[Platform, RawCaller, Said]]:
    """A call, once the agent has its phrases ready."""
    async with platform(agents={"eve": agent}, **settings) as at, dialled(at.url) as caller:
        await caller.until_session()
        await until(lambda: at.rpcs("tts", "ok") == 5)
        session = at.sessions.find(caller.session_id)
        assert session
        yield at, caller, Said(session.context)


@pytest.mark.parametrize("broken", ["llm", "asr"])
async def test_a_caller_whose_model_is_gone_gets_apologies_and_a_farewell_and_the_call_ends(broken: str) -> None:
    async with calling() as (at, caller, said):
        await at.fleet.stop(broken)
        for number in (1, 2, 3):
            report = await caller.turn()
            assert (report["outcome"], report["apologized"]) == ("failed", True), report
            if number < 3:
                await caller.quiet(QUIET_MS)
        await caller.hung_up_on()
        await until(at.idle)
        assert said.now() == [APOLOGY, APOLOGY, FAREWELL]


async def test_last_words_are_heard_to_their_end_whatever_the_caller_says_meanwhile() -> None:
    words = "I cannot help you today. Please call again."
    phrases = EVE.phrases.model_copy(update={"farewell": words})
    async with calling(EVE.model_copy(update={"phrases": phrases})) as (at, caller, said):
        await at.fleet.stop("llm")
        for number in (1, 2, 3):
            await caller.turn()
            if number < 3:
                await caller.quiet(QUIET_MS)
        await caller.until_audio()
        # It goes on hearing: a line that takes nothing holds the last words up.
        over = asyncio.create_task(caller.hung_up_on(), name="hear")
        with suppress(ConnectionClosed):  # once the words have been heard
            while not over.done():
                await caller.say(speech(1.0))
                await asyncio.wait((over,), timeout=1.0)
        await over
        await until(at.idle)
        assert said.now() == [APOLOGY, APOLOGY, words]


async def test_an_apology_needs_no_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calling() as (at, caller, said):
        await at.fleet.stop("tts")
        report = await caller.turn()
        assert (report["outcome"], report["apologized"]) == ("failed", True) and report["error"].startswith("tts: ")
        await caller.quiet(QUIET_MS)
        assert said.now() == [APOLOGY]
        await at.fleet.start("tts")
        await until(lambda: at.backends.tts.open_streams == 0)
        report = await caller.turn()
        assert report["outcome"] == "answered" or report["apologized"]


async def test_a_model_that_hangs_is_given_up_and_apologized_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(llm_stub.FIRST_SEGMENT, "hanging", Latency(((0.0, 60_000.0), (1.0, 60_000.0))))
    monkeypatch.setitem(llm_stub.NEXT_TOKEN, "hanging", Latency(((0.0, 1.0), (1.0, 1.0))))
    monkeypatch.setenv("ANTIPHON_LLM_STUB__PROFILE", "hanging")
    async with calling(EVE.model_copy(update={"answer_within_s": 1.0})) as (at, caller, said):
        report = await caller.turn()
        assert (report["outcome"], report["error"]) == ("failed", "no answer within 1 s") and report["apologized"]
        await until(lambda: at.slots_used()["llm"] == 0)
        await caller.quiet(QUIET_MS)
        assert said.now() == [APOLOGY]


async def test_a_silent_caller_is_asked_for_twice_and_then_left() -> None:
    with manual_timers() as timers:
        async with calling(EVE.model_copy(update={"idle_after_s": LONG_S})) as (at, caller, said):
            assert (await caller.turn())["outcome"] == "answered"
            over = asyncio.create_task(caller.hung_up_on(), name="hear")
            for asked_before in range(3):
                await until(lambda n=asked_before: len(said.now()) == 1 + n and timers.lengths_s == [LONG_S])
                timers.fire()
            await over
            await until(at.idle)
            assert said.now() == ["I heard: Hello there.", PROMPT, PROMPT, GOODBYE]


async def test_a_tool_that_takes_long_is_bridged_by_a_filler(monkeypatch: pytest.MonkeyPatch) -> None:
    async def brew(params: FunctionCallParams) -> None:
        """Make tea."""
        await asyncio.sleep(2.0)
        await params.result_callback({"tea": "green"})

    monkeypatch.setitem(tools.TOOLS, "brew", brew)
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "tool:brew {}|Your tea is ready.")
    agent = EVE.model_copy(update={"tools": ("brew",), "filler_after_s": 0.3})
    async with calling(agent) as (_, caller, said):
        report = await caller.turn()
        assert (report["outcome"], report["tools"]) == ("answered", ["brew"])
        assert report["llm_calls"] - report["dropped"] == 2
        (tool,) = [span for span in report["spans"] if span["name"] == "tool brew"]
        assert report["v2v_ms"] < tool["end_ms"]  # the filler is heard before the tool is done
        assert said.now() == ["Your tea is ready."]
