"""AntiphonTTSService alone in a bot of one's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from own_bot import IMPATIENT, NOWHERE, Bot, bot, dialled, settles, stub
from pipecat.frames.frames import (
    AggregatedTextProgressFrame,
    ErrorFrame,
    InterruptionFrame,
    LLMContextAssistantTurnFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.utils.errors import ErrorCategory

import antiphon_orchestrator.services.tts as tts_module
from antiphon_orchestrator.services import AntiphonTTSService
from antiphon_orchestrator.services.tts import SEGMENT_MS
from antiphon_runtime.testing import Served
from antiphon_tts.backends.stub import word_ms

RATE = 24_000


class Loudspeaker(BaseOutputTransport):
    """Output transport that plays the agent's audio at once and releases its words when they are said."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True))

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        return True


@asynccontextmanager
async def speaking(
    target: str, *behind: FrameProcessor, **options: Any
) -> AsyncIterator[tuple[Bot, AntiphonTTSService]]:
    async with dialled("tts", target, policy=IMPATIENT) as replicas:
        service = AntiphonTTSService(replicas=replicas, **options)
        async with bot(service, *behind) as at:
            yield at, service


def used(served: Served) -> float:
    return served.sample("antiphon_tts_slots_used")


def ended(served: Served, outcome: str) -> float:
    """Streams that ended like this."""
    return served.sample("antiphon_rpc_seconds_count", method="Synthesize", outcome=outcome)


async def says(at: Bot, *tokens: str) -> None:
    """A whole answer of a model."""
    await at.send(LLMFullResponseStartFrame(), *map(LLMTextFrame, tokens), LLMFullResponseEndFrame())


def spoken(at: Bot) -> list[str]:
    return [frame.text for frame in at.down.of(TTSTextFrame)]


def heard_ms(at: Bot) -> float:
    return sum(len(frame.audio) for frame in at.down.of(TTSAudioRawFrame)) / 2 * 1000 / RATE


async def test_an_answer_is_spoken_whole_word_for_word_and_the_slot_is_free_again() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await says(at, "Hello", " there,", " Eve.", " How", " are", " you?")
        await at.down.until(LLMFullResponseEndFrame)
        assert spoken(at) == ["Hello", "there,", "Eve.", "How", "are", "you?"]
        assert heard_ms(at) == sum(map(word_ms, spoken(at)))
        assert (len(at.down.of(TTSStartedFrame)), len(at.down.of(TTSStoppedFrame))) == (1, 1)
        await settles(lambda: used(served) == 0)
        assert at.up.of(ErrorFrame) == []


async def test_words_are_said_one_after_the_other() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await says(at, "One two three.")
        await at.down.until(LLMFullResponseEndFrame)
        begins = [frame.pts or 0 for frame in at.down.of(TTSTextFrame)]
        between = [round((after - before) / 1e6) for before, after in pairwise(begins)]
        assert between == [word_ms("One"), word_ms("two")]


async def test_the_first_audio_of_a_segment_says_how_long_the_service_worked_for_it() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await says(at, "Hello there.")
        await at.down.until(LLMFullResponseEndFrame)
        first, *rest = at.down.of(TTSAudioRawFrame)
        assert first.metadata[SEGMENT_MS] >= 0
        assert rest and not any(SEGMENT_MS in frame.metadata for frame in rest)


async def test_the_stream_is_opened_when_the_model_begins_to_answer() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(LLMFullResponseStartFrame())
        await settles(lambda: used(served) == 1)
        await at.send(LLMTextFrame("Hello."), LLMFullResponseEndFrame())
        await at.down.until(TTSAudioRawFrame)
        await settles(lambda: ended(served, "ok") == 1)


@pytest.mark.parametrize("tokens", [(), (" ",), ("\n", " ")], ids=["nothing", "a space", "white space"])
async def test_an_answer_without_text_gives_its_slot_back(tokens: tuple[str, ...]) -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(LLMFullResponseStartFrame())
        await settles(lambda: used(served) == 1)
        await at.send(*map(LLMTextFrame, tokens), LLMFullResponseEndFrame())
        await at.down.until(LLMFullResponseEndFrame)
        await settles(lambda: used(served) == 0)
        assert at.up.of(ErrorFrame) == []


async def test_answers_follow_each_other() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        for text in ("Hello there.", "Good bye.", "And again."):
            await says(at, text)
        await at.down.until(LLMFullResponseEndFrame, 3)
        assert spoken(at) == ["Hello", "there.", "Good", "bye.", "And", "again."]
        assert heard_ms(at) == sum(map(word_ms, spoken(at)))
        await settles(lambda: used(served) == 0)


async def test_what_a_bot_says_by_itself_is_spoken() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(TTSSpeakFrame("Good morning."))
        await at.down.until(TTSStoppedFrame)
        assert spoken(at) == ["Good", "morning."]
        await settles(lambda: used(served) == 0)


async def test_an_interruption_cancels_the_stream_and_frees_the_slot() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(LLMFullResponseStartFrame(), LLMTextFrame("Hello there, Eve. "), LLMTextFrame("How are"))
        await at.down.until(TTSAudioRawFrame)
        await at.send(InterruptionFrame())
        await settles(lambda: used(served) == 0 and ended(served, "cancelled") == 1)
        await says(at, "Sorry.")
        await at.down.until(LLMFullResponseEndFrame)
        assert spoken(at)[-1] == "Sorry."
        assert at.up.of(ErrorFrame) == []


async def test_an_interruption_before_any_text_frees_the_slot() -> None:
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(LLMFullResponseStartFrame())
        await settles(lambda: used(served) == 1)
        await at.send(InterruptionFrame())
        await settles(lambda: used(served) == 0)


async def test_what_must_not_be_interrupted_is_spoken_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TTS_STUB__PROFILE", "rtx5090")  # its audio comes 100 ms later
    async with stub("tts") as served, speaking(served.target) as (at, _):
        notice = TTSSpeakFrame("This call is recorded.")
        notice.interruptible = False
        await at.send(notice)
        await at.down.until(TTSStartedFrame)
        await at.send(InterruptionFrame())
        await at.down.until(TTSStoppedFrame)
        assert spoken(at) == ["This", "call", "is", "recorded."]
        assert heard_ms(at) == sum(map(word_ms, spoken(at)))


async def test_an_interrupted_answer_is_remembered_as_far_as_it_was_spoken() -> None:
    context = LLMContext([])
    words = ["One", "two", "three", "four", "five", "six", "seven", "eight."]
    async with stub("tts") as served:
        behind = [Loudspeaker(), LLMContextAggregatorPair(context).assistant()]
        async with speaking(served.target, *behind) as (at, _):
            said = asyncio.create_task(_said(at, 3))
            await says(at, " ".join(words))
            await said
            await at.send(InterruptionFrame())
            remembered = await at.up.until(LLMContextAssistantTurnFrame)
            kept = remembered.text.split()
            assert 2 <= len(kept) < len(words) and kept == words[: len(kept)]
            assert context.get_messages() == [{"role": "assistant", "content": remembered.text}]


async def _said(at: Bot, count: int) -> None:
    """Returns when the caller has heard the `count`th word begin: they come out of the loudspeaker then."""
    await at.down.until(AggregatedTextProgressFrame, count)


async def test_a_service_that_is_not_there_gives_one_error_and_nothing_that_was_not_spoken_is_told() -> None:
    async with speaking(NOWHERE) as (at, service):
        await says(at, "Hello", " there,", " how", " are", " you?")
        await at.down.until(LLMFullResponseEndFrame)
        errors = [frame for frame in at.up.of(ErrorFrame) if frame.error.startswith("tts: ")]
        assert [error.category for error in errors] == [ErrorCategory.CONNECTIVITY]
        assert spoken(at) == [] and at.down.of(TTSAudioRawFrame) == []
        assert service.is_usable


async def test_a_service_that_comes_back_speaks_again_however_many_answers_were_lost() -> None:
    async with AsyncExitStack() as first:
        target = (await first.enter_async_context(stub("tts"))).target
        await first.aclose()
        async with speaking(target) as (at, _):
            for count in range(4):
                await says(at, "Hello there.")
                await at.down.until(LLMFullResponseEndFrame, count + 1)
            async with stub("tts", bind=target):
                for count in range(5, 30):  # gRPC looks for it again in a moment of its own choosing
                    await says(at, "Back again.")
                    await at.down.until(LLMFullResponseEndFrame, count)
                    if spoken(at):
                        break
                assert spoken(at) == ["Back", "again."]


async def test_a_stream_that_is_lost_mid_answer_ends_it_where_it_was() -> None:
    async with AsyncExitStack() as lost:
        served = await lost.enter_async_context(stub("tts"))
        async with speaking(served.target) as (at, service):
            await at.send(LLMFullResponseStartFrame(), LLMTextFrame("Hello there, Eve. "), LLMTextFrame("How are you"))
            await at.down.until(TTSAudioRawFrame)
            await lost.aclose()
            error = await at.up.until(ErrorFrame)
            assert error.error.startswith("tts: ") and service.is_usable
            await at.send(LLMTextFrame(" today?"), LLMFullResponseEndFrame())
            await at.down.until(LLMFullResponseEndFrame)
            assert [*spoken(at), "…"][:3] == ["Hello", "there,", "Eve."]
            assert "today?" not in " ".join(spoken(at))
            assert len(at.down.of(TTSStoppedFrame)) == 1


async def test_without_a_free_slot_the_error_says_so_and_the_next_answer_is_spoken() -> None:
    async with stub("tts", slots=1) as served, speaking(served.target) as (one, _), speaking(served.target) as (two, _):
        await one.send(LLMFullResponseStartFrame())
        await settles(lambda: used(served) == 1)
        await says(two, "Hello there.")
        error = await two.up.until(ErrorFrame)
        assert error.category is ErrorCategory.RATE_LIMIT and "slots are taken" in error.error
        await two.down.until(LLMFullResponseEndFrame)
        await one.send(LLMFullResponseEndFrame())
        await settles(lambda: used(served) == 0)
        await says(two, "Hello there.")
        await two.down.until(LLMFullResponseEndFrame, 2)
        assert spoken(two) == ["Hello", "there."]


async def test_a_voice_that_the_service_does_not_have_leaves_it_unusable_and_no_answer_hangs() -> None:
    async with stub("tts") as served, speaking(served.target, voice="nobody") as (at, service):
        await says(at, "Hello there.")
        error = await at.up.until(ErrorFrame)
        assert "voice" in error.error and error.category is ErrorCategory.INVALID_REQUEST
        await says(at, "Hello", " again.")
        await at.down.until(LLMFullResponseEndFrame, 2)
        assert not service.is_usable and spoken(at) == []


async def test_a_bot_that_ends_leaves_nothing_behind() -> None:
    async with stub("tts") as served:
        async with speaking(served.target) as (at, _):
            await at.send(LLMFullResponseStartFrame(), LLMTextFrame("Hello there, Eve. "), LLMTextFrame("How are"))
            await at.down.until(TTSAudioRawFrame)
        await settles(lambda: used(served) == 0)


async def test_what_a_trickling_model_leaves_lying_is_spoken_and_the_voice_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tts_module, "FIRST_AUDIO_S", 0.3)
    monkeypatch.setattr(AntiphonTTSService, "_lull_s", 0.6)
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(LLMFullResponseStartFrame(), LLMTextFrame("One"))
        await at.down.until(TTSAudioRawFrame)  # with nothing more to come for now
        await at.send(LLMTextFrame(" two"))
        await settles(lambda: [frame.text for frame in at.down.of(TTSTextFrame)] == ["One", "two"])
        await at.send(LLMTextFrame(" three."), LLMFullResponseEndFrame())
        await at.down.until(TTSStoppedFrame)
        assert [frame.text for frame in at.down.of(TTSTextFrame)] == ["One", "two", "three."]
        assert not at.up.of(ErrorFrame) and ended(served, "ok") == 1


async def test_a_voice_owes_no_sound_for_text_that_is_no_segment_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tts_module, "FIRST_AUDIO_S", 0.1)
    monkeypatch.setattr(AntiphonTTSService, "_lull_s", None)
    async with stub("tts") as served, speaking(served.target) as (at, _):
        await at.send(LLMFullResponseStartFrame(), LLMTextFrame("One"))
        await asyncio.sleep(0.5)
        assert not at.up.of(ErrorFrame) and not ended(served, "cancelled")
        await at.send(LLMFullResponseEndFrame())
        await at.down.until(TTSStoppedFrame)
