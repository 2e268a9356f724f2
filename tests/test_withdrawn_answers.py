"""Answers that are withdrawn are not shown to RTVI clients."""

import asyncio
import json
from typing import Any

import pytest
from pipecat.frames.protobufs import frames_pb2 as generated
from platform_fixture import AVA, platform, until
from raw_caller import dialled, silence, speech

frames_pb2: Any = generated
QUESTION = "What is the time in Rome?"


async def test_no_event_of_a_withdrawn_answer_reaches_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller pauses so long that the pause is answered, and speaks on. In the end there is one answer."""
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", QUESTION)
    monkeypatch.setenv("ANTIPHON_TURN_STUB__COMPLETE_AFTER_MS", "60")
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "Yes: {last}")
    agent = AVA.model_copy(update={"llm_calls_per_turn": 4.0})
    async with platform(agents={"ava": agent}) as at, dialled(at.url) as caller:
        await caller.until_session()
        shown: list[dict[str, Any]] = []

        async def listen() -> None:
            while True:
                frame = frames_pb2.Frame.FromString(await caller.socket.recv())
                if frame.WhichOneof("frame") == "message":
                    shown.append(json.loads(frame.message.data))

        def of(kind: str) -> list[dict[str, Any]]:
            return [message for message in shown if message["type"] == kind]

        ready = {"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": {"version": "1.2.0"}}
        frame = frames_pb2.Frame(message=frames_pb2.MessageFrame(data=json.dumps(ready)))
        await caller.socket.send(frame.SerializeToString())
        listening = asyncio.create_task(listen())
        try:
            await until(lambda: of("bot-ready"))
            await until(lambda: at.services["asr"].sample("antiphon_asr_slots_used"))
            for turns in (1, 2, 3):
                asked = at.rpcs("llm", "ok") + at.rpcs("llm", "cancelled")
                await caller.say(speech(1.0) + silence(0.14))
                await until(lambda asked=asked: at.rpcs("llm", "ok") + at.rpcs("llm", "cancelled") > asked)
                assert len(of("bot-llm-started")) == len(of("bot-tts-started")) == turns - 1
                await caller.say(speech(1.0))
                while len(of("antiphon.turn")) < turns:
                    await caller.say(silence(0.1))
                    await asyncio.sleep(0.1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        dropped = [message["turn"]["dropped"] for message in of("antiphon.turn")]
        assert sum(dropped) >= 3
        answers = [message["turn"]["answered"] for message in of("antiphon.turn")]
        told = [message["data"]["text"].strip() for message in of("bot-transcription")]
        assert " ".join(told).split() == " ".join(answers).split()
        words = "".join(message["data"]["text"] for message in of("bot-llm-text"))
        assert "".join(words.split()) == "".join("".join(told).split())
        for kind in ("bot-llm-started", "bot-llm-stopped", "bot-tts-started", "bot-tts-stopped", "user-llm-text"):
            assert len(of(kind)) == 3, kind
        order = [one["type"] for one in shown if one["type"] in ("user-stopped-speaking", "bot-llm-started")]
        assert order == ["user-stopped-speaking", "bot-llm-started"] * 3
