"""Typed turns in running calls: counted, answered, apologized for, bounded."""

import asyncio
import json
from typing import Any

from pipecat.frames.protobufs import frames_pb2 as generated
from platform_fixture import AVA, SILENT, platform, until
from raw_caller import RawCaller, dialled, silence, speech
from rtc_caller import calling

from antiphon_orchestrator.agents import Agent

frames_pb2: Any = generated
TYPIST = AVA.model_copy(update={"allow_send_text": True})


def typed(words: str, **options: Any) -> dict[str, Any]:
    return {"label": "rtvi-ai", "type": "send-text", "id": "1", "data": {"content": words, "options": options}}


async def send(caller: RawCaller, message: dict[str, Any]) -> None:
    frame = frames_pb2.Frame(message=frames_pb2.MessageFrame(data=json.dumps(message)))
    await caller.socket.send(frame.SerializeToString())


async def test_a_typed_text_is_a_turn_among_the_spoken_ones() -> None:
    async with platform(agents={"ava": TYPIST}) as at, dialled(at.url) as caller:
        await caller.until_session()
        await send(caller, typed("Where is Rome?"))
        turn = await caller.report()
        assert (turn["turn_id"], turn["outcome"], turn["heard"]) == (1, "answered", "Where is Rome?")
        assert turn["answered"] == "I heard: Where is Rome?" and turn["commit_reason"] == "typed"
        assert turn["v2v_ms"] is None
        assert (await caller.turn())["turn_id"] == 2
        session = at.sessions.find(caller.session_id)
        assert session and [one.heard for one in session.turns] == ["Where is Rome?", "Hello there."]
        assert [message["role"] for message in session.context.get_messages()] == ["user", "assistant"] * 2
        assert at.sample("antiphon_turns_total", outcome="answered") == 2
        assert at.sample("antiphon_v2v_seconds_count", outcome="answered") == 1


async def test_a_typed_text_while_the_caller_speaks_is_the_next_turn() -> None:
    async with platform(agents={"ava": TYPIST}) as at, dialled(at.url) as caller:
        await caller.until_session()
        await caller.say(speech(1.0))
        await until(lambda: at.services["turn"].sample("antiphon_turn_slots_used"))
        await send(caller, typed("Where is Rome?"))
        heard = [(await caller.report())["heard"], (await caller.report())["heard"]]
        assert sorted(heard) == ["Hello there.", "Where is Rome?"]


async def test_a_typed_text_that_gets_no_answer_is_apologized_for() -> None:
    agent = Agent(
        system_prompt="You are Ava.", allow_send_text=True, phrases=SILENT.model_copy(update={"apology": None})
    )
    async with platform(agents={"ava": agent}) as at, dialled(at.url) as caller:
        await caller.until_session()
        await at.fleet.stop("llm")
        await send(caller, typed("Where is Rome?"))
        turn = await caller.report()
        assert (turn["outcome"], turn["heard"], turn["apologized"]) == ("failed", "Where is Rome?", True)
        await caller.until_audio()


async def test_a_text_is_refused_where_the_agent_takes_none_or_it_is_too_long() -> None:
    async with platform(agents={"ava": AVA, "typist": TYPIST}) as at:
        async with dialled(at.url) as caller:
            await caller.until_session()
            await send(caller, typed("Where is Rome?"))
            assert (await caller.until_message("antiphon.error"))["reason"] == "text_not_allowed"
        async with dialled(f"{at.url}?agent=typist") as caller:
            await caller.until_session()
            await send(caller, typed("Rome? " * 500))
            assert (await caller.until_message("antiphon.error"))["reason"] == "text_unusable"
        assert at.rpcs("llm", "ok") == 0


async def test_a_text_over_a_data_channel_is_a_turn_too() -> None:
    async with platform(agents={"ava": TYPIST}) as at, calling(at.page) as caller:
        await until(lambda: caller.of("antiphon.session"))
        caller.send(typed("Where is Rome?"))
        await until(lambda: caller.of("antiphon.turn"))
        (message,) = caller.of("antiphon.turn")
        assert (message["turn"]["outcome"], message["turn"]["heard"]) == ("answered", "Where is Rome?")


async def test_a_caller_who_types_all_the_time_gets_bounded_answers() -> None:
    async with platform(agents={"ava": TYPIST}) as at, dialled(at.url) as caller:
        await caller.until_session()
        for number in range(40):
            await send(caller, typed(f"Text {number}"))
        assert (await caller.until_message("antiphon.error"))["reason"] == "too_many_messages"
        await caller.say(silence(0.2))
        await asyncio.sleep(1.0)
        session = at.sessions.find(caller.session_id)
        assert session and 1 <= len(session.context.get_messages()) <= 8
