"""RTVI messages about answers that may be withdrawn."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from own_bot import NOWHERE, dialled
from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    OutputTransportMessageUrgentFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.observers.base_observer import FramePushed
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.processors.frameworks.rtvi.models import BotStoppedSpeakingMessage, Message

from antiphon_orchestrator.containment import Containment
from antiphon_orchestrator.rtvi import CallerRTVIProcessor, CountedRTVIObserver
from antiphon_orchestrator.services import AntiphonTTSService, SpeculativeLLMService
from antiphon_orchestrator.services.speculation import mark_as_own, mark_speculative


class Client:
    """An observer whose client is told of pushed frames; what it was told, by type."""

    def __init__(self, llm: FrameProcessor, tts: FrameProcessor) -> None:
        self.llm, self.tts, self.user = llm, tts, FrameProcessor()
        self.told: list[dict[str, Any]] = []
        self._rtvi = CallerRTVIProcessor(self._send)
        self._observer = self._rtvi.create_rtvi_observer()
        assert isinstance(self._observer, CountedRTVIObserver)
        self._seen: set[int] = set()

    async def _send(self, frame: OutputTransportMessageUrgentFrame) -> None:
        self.told.append(frame.message)

    async def pushed(self, source: FrameProcessor, *frames: Frame) -> None:
        for frame in frames:
            first, way = frame.id not in self._seen, FrameDirection.DOWNSTREAM
            self._seen.add(frame.id)
            await self._observer.on_push_frame(FramePushed(source, source, frame, way, 0, first))

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.told]

    @property
    def words(self) -> str:
        return "".join(message["data"]["text"] for message in self.told if message["type"] == "bot-llm-text")

    async def answer(self, text: str, asked: LLMContextFrame | None = None) -> None:
        """All that model and voice push of an answer."""
        for events in self.steps(text, asked):
            await self.pushed(*events)

    def steps(self, text: str, asked: LLMContextFrame | None = None) -> Iterator[tuple[FrameProcessor, Frame]]:
        start = LLMFullResponseStartFrame()
        if asked:
            mark_speculative(start, asked)
        yield self.llm, start
        yield self.tts, start  # passes it on
        for word in text.split():
            yield self.llm, LLMTextFrame(f"{word} ")
        yield self.tts, TTSStartedFrame()
        yield self.llm, LLMFullResponseEndFrame()
        yield self.llm, MetricsFrame(data=[TTFBMetricsData(processor="llm", value=0.1)])
        yield self.tts, MetricsFrame(data=[TTFBMetricsData(processor="tts", value=0.1)])
        yield self.tts, TTSStoppedFrame()


OF_AN_ANSWER = ["bot-llm-started", "bot-llm-text", "bot-transcription", "bot-tts-started", "bot-llm-stopped"]
OF_AN_ANSWER += ["metrics", "metrics", "bot-tts-stopped"]


@pytest.fixture
async def client() -> Any:
    async with dialled("llm", NOWHERE) as models, dialled("tts", NOWHERE) as voices:
        yield Client(SpeculativeLLMService(replicas=models), AntiphonTTSService(replicas=voices))


def question(words: str = "Rome?") -> LLMContextFrame:
    return LLMContextFrame(LLMContext([{"role": "user", "content": words}]), speculation=True)


async def test_an_answer_is_told_after_the_end_of_its_turn_in_its_order(client: Client) -> None:
    await client.pushed(client.user, UserStartedSpeakingFrame())
    asked = question()
    await client.pushed(client.user, asked)
    await client.answer("Rome.", asked)
    assert client.types == ["user-started-speaking"]
    await client.pushed(client.user, UserStoppedSpeakingFrame())
    assert client.types == ["user-started-speaking", "user-stopped-speaking", "user-llm-text", *OF_AN_ANSWER]


@pytest.mark.parametrize("end", [EagerEndOfTurnCancelFrame, InterruptionFrame])
async def test_of_a_withdrawn_answer_nothing_is_told_and_of_the_next_everything(
    client: Client, end: type[Frame]
) -> None:
    await client.pushed(client.user, UserStartedSpeakingFrame())
    asked = question()
    await client.pushed(client.user, asked)
    *most, last = client.steps("Phantom.", asked)
    for events in most:
        await client.pushed(*events)
    await client.pushed(client.user, end())
    await client.pushed(*last)  # overtaken
    await client.pushed(client.llm, ErrorFrame(error="the phantom broke", processor=client.llm))
    await client.pushed(client.user, UserStoppedSpeakingFrame())
    await client.answer("Rome.")
    assert client.words == "Rome. " and "error" not in client.types
    assert [kind for kind in client.types if kind.startswith(("bot-llm", "bot-tts", "bot-tr", "metr"))] == OF_AN_ANSWER


async def test_an_answer_that_counts_is_told_as_it_comes(client: Client) -> None:
    await client.pushed(client.user, UserStartedSpeakingFrame(), UserStoppedSpeakingFrame())
    for number, events in enumerate(client.steps("Rome.", question())):
        before = len(client.told)
        await client.pushed(*events)
        assert (len(client.told) > before) == (number != 1)  # that the voice passes it on is not told


async def test_phrases_of_the_agents_own_are_told_while_an_answer_is_held(client: Client) -> None:
    await client.pushed(client.user, UserStartedSpeakingFrame())
    await client.answer("Rome.", question())
    phrase = TTSStartedFrame()
    mark_as_own(phrase)
    await client.pushed(client.tts, phrase)
    assert client.types == ["user-started-speaking", "bot-tts-started"]


async def test_an_error_is_told_unless_it_is_of_an_answer_that_does_not_count(client: Client) -> None:
    await client.pushed(client.user, ErrorFrame(error="somewhere else"))
    await client.answer("Rome.")
    await client.pushed(client.tts, ErrorFrame(error="the voice broke", processor=client.tts))
    assert [message["data"]["error"] for message in client.told if message["type"] == "error"] == [
        "somewhere else",
        "the voice broke",
    ]


async def test_what_an_answer_that_broke_off_left_is_no_part_of_the_next_ones_transcription(client: Client) -> None:
    await client.pushed(client.llm, LLMFullResponseStartFrame(), LLMTextFrame("It is in "))
    await client.pushed(client.user, InterruptionFrame())
    await client.answer("Rome.")
    (transcription,) = (message for message in client.told if message["type"] == "bot-transcription")
    assert transcription["data"]["text"].strip() == "Rome."


@pytest.mark.parametrize("seed", range(30))
async def test_in_whatever_order_events_are_seen_no_withdrawn_word_is_told_and_no_other_is_lost(
    client: Client, seed: int
) -> None:
    """The model's and the voice's pushes come each in its own order, and withdrawals between any two."""
    chance, kept = random.Random(seed), ""
    for turn in range(20):
        await client.pushed(client.user, UserStartedSpeakingFrame(), InterruptionFrame())
        for attempt in range(chance.randrange(4)):
            asked = question()
            await client.pushed(client.user, asked)
            steps = list(client.steps(f"phantom{turn}.{attempt}.", asked))[: chance.randrange(12)]
            voice = [each for each in steps if each[0] is client.tts]
            late = voice[chance.randrange(len(voice) + 1) :]  # seen after the withdrawal
            for events in steps:
                if events not in late:
                    await client.pushed(*events)
            await client.pushed(client.user, EagerEndOfTurnCancelFrame())
            for events in late:
                await client.pushed(*events)
        asked_last = question()
        speculates = chance.random() < 0.5
        if speculates:
            await client.pushed(client.user, asked_last)
            await client.answer(f"kept{turn}.", asked_last)
        await client.pushed(client.user, UserStoppedSpeakingFrame())
        if not speculates:
            await client.answer(f"kept{turn}.")
        kept += f"kept{turn}. "
        assert client.words == kept
        assert client.types.count("bot-tts-started") == client.types.count("bot-llm-started") == turn + 1


async def test_messages_that_came_past_the_door_are_not_acted_on() -> None:
    sent: list[OutputTransportMessageUrgentFrame] = []
    pushed: list[Frame] = []

    async def send(frame: OutputTransportMessageUrgentFrame) -> None:
        sent.append(frame)

    rtvi = CallerRTVIProcessor(send)

    async def push(frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        pushed.append(frame)

    rtvi.push_frame = push  # type: ignore[method-assign]
    for kind in ("raw-audio", "send-text", "dtmf", "ui-event", "of a later version"):
        await rtvi._handle_message(Message(label="rtvi-ai", type=kind, id="1", data={"content": "x"}))
    assert pushed == sent == []
    await rtvi.push_transport_message(BotStoppedSpeakingMessage())
    assert pushed == []  # no processor handles it, and no sound waits for it
    assert [frame.message["type"] for frame in sent] == ["bot-stopped-speaking"]


async def test_a_message_that_cannot_be_sent_is_counted_and_ends_nothing() -> None:
    failures: list[str] = []

    async def send(frame: OutputTransportMessageUrgentFrame) -> None:
        raise ConnectionError("the data channel is closing")

    rtvi = CallerRTVIProcessor(send, Containment(failures.append))
    await rtvi.push_transport_message(BotStoppedSpeakingMessage())
    assert failures == ["rtvi"]
