"""The model and the voice taking turns on one device."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from own_bot import IMPATIENT, NOWHERE, Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    ErrorFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

import antiphon_llm.settings
from antiphon_orchestrator.interleaving import Interleaver, Stretches
from antiphon_orchestrator.services import AntiphonLLMService, InterleavedTTSService
from antiphon_runtime.phases import Phases
from antiphon_runtime.testing import Served

SENTENCES = " ".join(
    f"This is the sentence with the number {name}." for name in ("one", "two", "three", "four", "five")
)


class Watched(Phases):
    """Remembers for what the device was taken, and whether what it was not taken for worked meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    @asynccontextmanager
    async def hold(self, kind: str) -> AsyncIterator[None]:
        async with super().hold(kind):
            self.taken.append(kind)
            yield


@asynccontextmanager
async def talking(
    llm: str, tts: str, device: Phases, stretches: Stretches | None = None
) -> AsyncIterator[tuple[Bot, Interleaver]]:
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(dialled("llm", llm, policy=IMPATIENT))
        voices = await stack.enter_async_context(dialled("tts", tts, policy=IMPATIENT))
        interleaver = Interleaver(device, stretches or Stretches(first=4, later=6, most=12, comfort_s=60.0))
        at = await stack.enter_async_context(
            bot(
                AntiphonLLMService(replicas=models, interleaver=interleaver),
                InterleavedTTSService(replicas=voices, interleaver=interleaver),
            )
        )
        yield at, interleaver


@pytest.fixture
def long_answer(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", SENTENCES)
    return SENTENCES


def asked() -> LLMContextFrame:
    return LLMContextFrame(LLMContext([{"role": "user", "content": "Go on."}]))


def idle(*served: Served) -> bool:
    return not any(at.sample(f"antiphon_{name}_slots_used") for at, name in zip(served, ("llm", "tts"), strict=False))


async def test_they_take_turns_and_all_is_said(long_answer: str) -> None:
    device = Watched()
    async with stub("llm") as llm, stub("tts") as tts, talking(llm.target, tts.target, device) as (at, _):
        await at.send(asked())
        await at.down.until(TTSStoppedFrame)
        assert " ".join(frame.text for frame in at.down.of(TTSTextFrame)) == long_answer
        await settles(lambda: idle(llm, tts))
    # A stretch of four words, then whole sentences: the last of which is the answer's end.
    assert device.taken == ["llm", "tts"] * (len(device.taken) // 2)
    assert 5 <= len(device.taken) // 2 <= 7


async def test_the_model_waits_until_the_voice_is_no_longer_far_ahead(long_answer: str) -> None:
    device = Watched()
    stretches = Stretches(first=8, later=8, most=12, comfort_s=0.0)
    async with stub("llm") as llm, stub("tts") as tts, talking(llm.target, tts.target, device, stretches) as (at, _):
        await at.send(asked())
        await at.down.until(TTSAudioRawFrame)
        await settles(lambda: device.taken == ["llm", "tts"])
        await asyncio.sleep(0.2)
        assert device.taken == ["llm", "tts"]  # what has been said takes seconds to hear
        await at.send(InterruptionFrame())
        await settles(lambda: idle(llm, tts))
    assert device.taken.count("llm") == 1


async def test_an_interruption_at_any_moment_leaves_the_device_free(long_answer: str) -> None:
    device = Watched()
    async with stub("llm") as llm, stub("tts") as tts, talking(llm.target, tts.target, device) as (at, _):
        for wait_ms in range(0, 40, 2):
            await at.send(asked())
            await asyncio.sleep(wait_ms / 1000)
            await at.send(InterruptionFrame())
        await settles(lambda: idle(llm, tts))
        heard = len(at.down.of(TTSStoppedFrame))
        await at.send(asked())
        await at.down.until(TTSStoppedFrame, heard + 1)
        async with asyncio.timeout(60), device.hold("asr"):
            pass


async def test_two_conversations_share_the_device_and_never_both_kinds(long_answer: str) -> None:
    working: set[str] = set()
    together: list[set[str]] = []

    class Spied(Phases):
        @asynccontextmanager
        async def hold(self, kind: str) -> AsyncIterator[None]:
            async with super().hold(kind):
                working.add(kind)
                together.append(set(working))
                try:
                    yield
                finally:
                    if self._holders == 1:
                        working.discard(kind)

    device = Spied()
    async with AsyncExitStack() as stack:
        llm, tts = [await stack.enter_async_context(stub(name)) for name in ("llm", "tts")]
        calls = [await stack.enter_async_context(talking(llm.target, tts.target, device)) for _ in range(3)]
        for at, _ in calls:
            await at.send(asked())
        for at, _ in calls:
            await at.down.until(TTSStoppedFrame)
            assert " ".join(frame.text for frame in at.down.of(TTSTextFrame)) == long_answer
    assert together
    assert all(len(kinds) == 1 for kinds in together)


async def test_a_voice_that_cannot_be_reached_does_not_stop_the_model(long_answer: str) -> None:
    async with stub("llm") as llm, talking(llm.target, NOWHERE, Phases()) as (at, _):
        await at.send(asked())
        await at.down.until(LLMFullResponseEndFrame)
        assert "tts" in (await at.up.until(ErrorFrame)).error
        await settles(lambda: idle(llm))


async def test_a_voice_that_never_says_it_is_done_is_waited_for_only_so_long() -> None:
    interleaver = Interleaver(Phases(), Stretches(patience_s=0.05))
    async with asyncio.timeout(60), interleaver.awaiting(1) as spoken:
        await interleaver.until_wanted(spoken)
        interleaver.spoken(1)
    interleaver.spoken(1)  # too late: nobody waits for it


async def test_a_voice_far_ahead_is_not_waited_for_until_the_grant_is_lost() -> None:
    interleaver = Interleaver(Phases(), Stretches(rest_s=0.05))
    async with asyncio.timeout(60), interleaver.awaiting(1) as spoken:
        interleaver.spoken(1, ahead_s=100.0)
        await interleaver.until_wanted(spoken)
    waits = Stretches()
    assert waits.rest_s + waits.patience_s < antiphon_llm.settings.Settings().grant_timeout_s


async def test_grants_are_named_apart_and_grow_after_the_first() -> None:
    interleaver = Interleaver(Phases())
    grants: list[Any] = [interleaver.grant(first=first) for first in (True, False, True)]
    assert [(grant.token_count, grant.most_token_count) for grant in grants] == [(24, 0), (32, 96), (24, 0)]
    assert len({grant.segment_id for grant in grants}) == 3
    assert all(grant.whole_clauses and grant.segment_id for grant in grants)
