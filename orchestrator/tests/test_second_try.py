"""A service that is lost, or silent, before it has said anything: another replica is asked the same, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from own_bot import Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    ErrorFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

import antiphon_asr.backends.stub as asr_stub
import antiphon_llm.backends.stub as llm_stub
import antiphon_orchestrator.services.asr as asr_module
import antiphon_orchestrator.services.llm as llm_module
import antiphon_orchestrator.services.tts as tts_module
import antiphon_tts.backends.stub as tts_stub
from antiphon.asr.v1 import asr_pb2
from antiphon.llm.v1 import llm_pb2
from antiphon.tts.v1 import tts_pb2
from antiphon_orchestrator.services import AntiphonLLMService, AntiphonSTTService, AntiphonTTSService
from antiphon_orchestrator.services.frames import CommitTurnFrame
from antiphon_runtime.client import Replicas
from antiphon_runtime.latency import Latency
from antiphon_runtime.testing import Served

SILENT = Latency(((0.0, 30_000.0), (1.0, 30_000.0)))
PROFILES = {"asr": asr_stub.PROFILES, "llm": llm_stub.FIRST_SEGMENT, "tts": tts_stub.PROFILES}


@pytest.fixture
def mp(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, profiles in PROFILES.items():
        monkeypatch.setitem(profiles, "silent", SILENT)
        monkeypatch.setenv(f"ANTIPHON_{name.upper()}_STUB__PROFILE", "silent")
    monkeypatch.setitem(llm_stub.NEXT_TOKEN, "silent", Latency(((0.0, 1.0), (1.0, 1.0))))
    return monkeypatch


@asynccontextmanager
async def silent_and_well(name: str, mp: pytest.MonkeyPatch) -> AsyncIterator[tuple[AsyncExitStack, Served, Replicas]]:
    """Two replicas, of which the one that is asked first never answers; with what ends it."""
    async with AsyncExitStack() as silent:
        first = await silent.enter_async_context(stub(name))
        mp.setenv(f"ANTIPHON_{name.upper()}_STUB__PROFILE", "zero")
        async with stub(name) as second, dialled(name, first.target, second.target) as replicas:
            opens: dict[str, Any] = {
                "asr": asr_pb2.TranscribeRequest(config={"audio": {"encoding": 1, "sample_rate_hz": 16_000}}),
                "llm": llm_pb2.GenerateRequest(
                    config={"messages_json": '[{"role": "user", "content": "x"}]', "await_grants": True}
                ),
                "tts": tts_pb2.SynthesizeRequest(config={"audio": {"encoding": 1, "sample_rate_hz": 24_000}}),
            }
            # Whoever has fewest streams is asked first.
            async with await replicas.open(opens[name], avoid=[first.target]) as held:
                assert held.address == second.target
                yield silent, first, replicas


async def asks(at: Bot) -> None:
    await at.send(LLMContextFrame(LLMContext([{"role": "user", "content": "Hello."}])))


async def answered(at: Bot) -> str:
    await at.down.until(LLMFullResponseEndFrame)
    return "".join(frame.text for frame in at.down.of(LLMTextFrame))


async def test_a_model_that_writes_nothing_in_time_is_left_for_another(mp: pytest.MonkeyPatch) -> None:
    mp.setattr(llm_module, "FIRST_TOKEN_S", 0.2)
    async with silent_and_well("llm", mp) as (_, first, replicas):
        async with bot(AntiphonLLMService(replicas=replicas)) as at:
            await asks(at)
            assert await answered(at) == "I heard: Hello." and not at.up.of(ErrorFrame)
        await settles(lambda: first.sample("antiphon_llm_slots_used") == 0)


async def test_a_model_that_is_lost_before_its_first_word_is_left_for_another(mp: pytest.MonkeyPatch) -> None:
    async with (
        silent_and_well("llm", mp) as (silent, first, replicas),
        bot(AntiphonLLMService(replicas=replicas)) as at,
    ):
        await asks(at)
        await settles(lambda: first.sample("antiphon_llm_slots_used") == 1)
        await silent.aclose()
        assert await answered(at) == "I heard: Hello." and not at.up.of(ErrorFrame)


async def test_a_second_model_that_writes_nothing_is_an_error(mp: pytest.MonkeyPatch) -> None:
    mp.setattr(llm_module, "FIRST_TOKEN_S", 0.1)
    async with stub("llm") as one, stub("llm") as two, dialled("llm", one.target, two.target) as replicas:
        service = AntiphonLLMService(replicas=replicas)
        async with bot(service) as at:
            await asks(at)
            assert await answered(at) == ""
            (error,) = at.up.of(ErrorFrame)
            assert "no answer in time" in error.error and service.is_usable
        for served in (one, two):
            count = partial(served.sample, "antiphon_rpc_seconds_count", method="Generate", outcome="cancelled")
            await settles(lambda count=count: count() == 1)  # a server hears of it a little later


async def says(at: Bot) -> None:
    await at.send(LLMFullResponseStartFrame(), *map(LLMTextFrame, ("Hello", " there,", " Eve.")))


async def spoken(at: Bot) -> list[str]:
    await at.send(LLMFullResponseEndFrame())
    await at.down.until(LLMFullResponseEndFrame)
    return [frame.text for frame in at.down.of(TTSTextFrame)]


async def test_a_voice_that_says_nothing_in_time_is_left_for_another(mp: pytest.MonkeyPatch) -> None:
    mp.setattr(tts_module, "FIRST_AUDIO_S", 0.3)
    async with silent_and_well("tts", mp) as (_, first, replicas), bot(AntiphonTTSService(replicas=replicas)) as at:
        await says(at)
        assert await spoken(at) == ["Hello", "there,", "Eve."] and not at.up.of(ErrorFrame)
        await settles(lambda: first.sample("antiphon_tts_slots_used") == 0)


@pytest.mark.parametrize("when", ["before its text", "in its text", "after its text"])
async def test_a_voice_that_is_lost_before_its_first_sound_is_left_for_another(
    mp: pytest.MonkeyPatch, when: str
) -> None:
    async with (
        silent_and_well("tts", mp) as (silent, first, replicas),
        bot(AntiphonTTSService(replicas=replicas)) as at,
    ):
        await at.send(LLMFullResponseStartFrame())
        await settles(lambda: first.sample("antiphon_tts_slots_used") == 1)
        tokens = ["Hello", " there,", " Eve."]
        cut = {"before its text": 0, "in its text": 2, "after its text": 3}[when]
        await at.send(*map(LLMTextFrame, tokens[:cut]))
        if when == "after its text":
            await at.send(LLMFullResponseEndFrame())
        await silent.aclose()
        await at.send(*map(LLMTextFrame, tokens[cut:]))
        if when != "after its text":
            await at.send(LLMFullResponseEndFrame())
        await at.down.until(LLMFullResponseEndFrame)
        assert [frame.text for frame in at.down.of(TTSTextFrame)] == ["Hello", "there,", "Eve."]
        assert not at.up.of(ErrorFrame)


async def test_a_second_voice_that_says_nothing_is_an_error(mp: pytest.MonkeyPatch) -> None:
    mp.setattr(tts_module, "FIRST_AUDIO_S", 0.1)
    async with stub("tts") as one, stub("tts") as two, dialled("tts", one.target, two.target) as replicas:
        async with bot(AntiphonTTSService(replicas=replicas)) as at:
            await says(at)
            assert await spoken(at) == []
            assert "no answer in time" in at.up.of(ErrorFrame)[0].error
        await settles(lambda: not replicas.open_streams)


async def test_a_recognizer_that_gives_no_text_is_left_for_another_which_hears_the_utterance_again(
    mp: pytest.MonkeyPatch,
) -> None:
    mp.setattr(asr_module, "RETRY_S", 0.2)
    pcm = b"\x00\x20" * 6400
    async with silent_and_well("asr", mp) as (_, first, replicas), bot(AntiphonSTTService(replicas=replicas)) as at:
        await settles(lambda: first.sample("antiphon_asr_slots_used") == 1)
        await at.send(VADUserStartedSpeakingFrame())
        await at.hear(pcm)
        await at.send(CommitTurnFrame(sample=6400))
        async with asyncio.timeout(60):
            while not at.down.of(TranscriptionFrame):  # its clock is the caller's audio
                await at.hear(bytes(640))
                await asyncio.sleep(0.02)
        assert [frame.text for frame in at.down.of(TranscriptionFrame)] == ["Hello there."]
        await settles(lambda: first.sample("antiphon_asr_slots_used") == 0)
