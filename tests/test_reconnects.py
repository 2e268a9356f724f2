"""A call whose peer connection is made anew is the same call."""

import asyncio

from platform_fixture import AVA, platform, until
from raw_caller import speech
from rtc_caller import calling

LONG_GREETING = "Hello, I am Ava, and I have a good deal to tell you before you say anything. " * 3


async def test_a_restarted_connection_is_not_greeted_again_and_the_call_goes_on() -> None:
    agent = AVA.model_copy(update={"greeting": "Hello, I am Ava."})
    async with platform(agents={"ava": agent}) as at, calling(at.page) as caller:
        await until(lambda: caller.of("antiphon.session"))
        session = at.sessions.find(caller.session_id)
        assert session
        await until(session.context.get_messages)  # the greeting has been heard
        for times in (2, 3):  # the second time it is known by another id
            await caller.offer(pc_id=caller.pc_id, restart_pc=True)
            await until(lambda times=times: len(caller.of("antiphon.session")) == times)
        await until(lambda: [one["content"] for one in session.context.get_messages()] == ["Hello, I am Ava."])
        caller.microphone.say(speech())
        await until(lambda: session.turns)
        assert session.turns[0].outcome == "answered"
        assert at.rpcs("tts", "ok") == 2  # the greeting and the answer
        assert [message["content"] for message in session.context.get_messages()] == [
            "Hello, I am Ava.",
            "Hello there.",
            "I heard: Hello there.",
        ]


async def test_what_the_agent_still_has_to_say_is_heard_over_the_restarted_connection() -> None:
    agent = AVA.model_copy(update={"greeting": LONG_GREETING})
    async with platform(agents={"ava": agent}) as at, calling(at.page) as caller:
        await until(lambda: caller.heard_s > 0.3)
        session = at.sessions.find(caller.session_id)
        assert session
        await until(lambda: session.playout.left_ms is not None)
        left_s, heard_s = (session.playout.left_ms or 0.0) / 1000, caller.heard_s
        await caller.offer(pc_id=caller.pc_id, restart_pc=True)
        await until(session.context.get_messages)
        await until(lambda: session.playout.left_ms == 0)
        assert left_s > 3 and caller.heard_s - heard_s > left_s - 1


async def test_a_client_that_pings_once_hears_its_answers_all_the_same() -> None:
    async with platform() as at, calling(at.page) as caller:
        await until(lambda: caller.of("antiphon.session"))
        caller.send("ping")
        await asyncio.sleep(3.5)  # Pipecat takes a line for lost whose last ping is 3 s old
        caller.microphone.say(speech())
        await until(lambda: caller.of("antiphon.turn"))
        assert caller.heard_s > 0.3


async def test_a_second_data_channel_is_closed_and_the_first_goes_on() -> None:
    async with platform() as at, calling(at.page) as caller:
        await until(lambda: caller.of("antiphon.session"))
        assert caller.peer
        second = caller.peer.createDataChannel("second")
        await until(lambda: second.readyState == "closed")
        refused = "antiphon_caller_messages_refused_total"
        assert at.sample(refused, reason="channel_not_allowed") == 1
        caller.send({"type": "antiphon.underruns", "count": 3})
        await until(lambda: at.sample("antiphon_client_underruns_total") == 3)


async def test_a_flood_on_a_data_channel_is_bounded_and_the_call_goes_on() -> None:
    async with platform() as at, calling(at.page) as caller:
        await until(lambda: caller.of("antiphon.session"))
        for _ in range(400):
            caller.send("[" * 200)
        refused = "antiphon_caller_messages_refused_total"
        await until(lambda: at.sample(refused, reason="too_many_messages") > 200)
        assert at.sample(refused, reason="malformed") <= 199
        caller.microphone.say(speech())
        await until(lambda: caller.of("antiphon.turn"))
        assert caller.of("antiphon.turn")[0]["turn"]["outcome"] in ("answered", "stalled")
