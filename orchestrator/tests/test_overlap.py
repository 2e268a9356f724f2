"""Speech over the agent's, as the aggregator's start strategy deals with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from own_bot import NOWHERE, Bot, bot, dialled, settles
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    DataFrame,
    ErrorFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams

from antiphon_orchestrator.services import AntiphonLLMService
from antiphon_orchestrator.services.frames import (
    AgentSilencedFrame,
    EmptyUtteranceFrame,
    OverlapEndedFrame,
    PauseTextFrame,
    SpeechPausedFrame,
)
from antiphon_orchestrator.turns.playout import Playout
from antiphon_orchestrator.turns.speculation import Budget
from antiphon_orchestrator.turns.strategies import committed_turns


@dataclass
class Mark(DataFrame):
    """Comes out when what was sent before it has been dealt with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.interruptible = False


@dataclass
class Talk:
    at: Bot
    playout: Playout
    context: LLMContext
    marks: int = 0

    async def sends(self, *frames: object) -> None:
        """And waits until they have been dealt with."""
        self.marks += 1
        await self.at.send(*frames, Mark())  # type: ignore[arg-type]
        await self.at.down.until(Mark, self.marks)

    @property
    def turns(self) -> int:
        return len(self.at.down.of(UserStartedSpeakingFrame))


@asynccontextmanager
async def talking(*, budget: Budget | None = None, speaks: bool = True) -> AsyncIterator[Talk]:
    """An agent that speaks, or has been asked something, at length."""
    context, playout = LLMContext([]), Playout()
    strategies = committed_turns(budget, playout=playout)
    params = LLMUserAggregatorParams(user_turn_strategies=strategies, empty_user_turn=None)
    async with bot(LLMContextAggregatorPair(context, user_params=params).user()) as at:
        talk = Talk(at, playout, context)
        if speaks:
            playout.begin()
            await talk.sends(BotStartedSpeakingFrame())
        yield talk


def final(text: str) -> TranscriptionFrame:
    return TranscriptionFrame(text, "", "", finalized=True)


def interim(text: str) -> InterimTranscriptionFrame:
    return InterimTranscriptionFrame(text, "", "")


STOPPED = (SpeechPausedFrame(sample=100, silence_ms=96), VADUserStoppedSpeakingFrame())


async def test_speech_pauses_the_agent_and_words_stop_it() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame())
        assert talk.playout.paused and talk.turns == 0 and not talk.at.down.of(InterruptionFrame)
        await talk.sends(interim("Wait"))
        assert not talk.playout.paused and talk.turns == 1 and len(talk.at.down.of(InterruptionFrame)) == 1
        assert await talk.playout.filter(b"xx") == b""  # of the reply that was stopped
        talk.playout.begin()
        assert await talk.playout.filter(b"xx") == b"xx"
        await talk.sends(*STOPPED, final("Wait a moment."))
        assert len(talk.at.down.of(LLMContextFrame)) == 1
        assert talk.context.get_messages() == [{"role": "user", "content": "Wait a moment."}]


@pytest.mark.parametrize("said", ["Uh-huh", "opens at nine"])
async def test_long_words_that_do_not_stop_the_agent_do_not_at_their_pause_either(said: str) -> None:
    async with talking() as talk:
        talk.playout.heard("The shop opens at nine.")
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.7), interim(said))
        await talk.sends(*STOPPED)
        assert talk.playout.paused and talk.turns == 0
        await talk.sends(PauseTextFrame(sample=100, text=said))
        assert not talk.playout.paused and talk.turns == 0


async def test_long_speech_without_known_words_stops_the_agent_at_its_pause() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.75), *STOPPED)
        assert talk.turns == 1


async def test_a_pause_that_is_told_late_makes_no_long_speech_of_a_syllable() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.65))
        await talk.sends(SpeechPausedFrame(sample=100, silence_ms=64, arrived_ms=300))
        assert talk.playout.paused and talk.turns == 0


async def test_long_speech_stops_the_agent_whatever_it_says() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.3))
        assert talk.turns == 0
        await settles(lambda: talk.turns == 1)
        assert not talk.playout.paused and not talk.at.down.of(OverlapEndedFrame)


@pytest.mark.parametrize("text", ["Uh-huh.", ""])
async def test_a_back_channel_or_a_noise_lets_the_agent_go_on_and_is_no_turn(text: str) -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED, PauseTextFrame(sample=100, text=text))
        assert not talk.playout.paused and await talk.playout.filter(b"xx") == b"xx"
        assert [frame.text for frame in talk.at.down.of(OverlapEndedFrame)] == [text]
        await talk.sends(final(text) if text else EmptyUtteranceFrame())
        await talk.sends(BotStoppedSpeakingFrame(), VADUserStartedSpeakingFrame(), *STOPPED, final("And on Sunday?"))
        assert talk.context.get_messages() == [{"role": "user", "content": "And on Sunday?"}]
        assert talk.turns == 1


async def test_half_a_second_of_silence_without_words_lets_the_agent_go_on() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED)
        assert talk.playout.paused
        await talk.at.down.until(OverlapEndedFrame)
        await settles(lambda: not talk.playout.paused)
        assert talk.turns == 0 and not talk.at.down.of(InterruptionFrame)


async def test_words_that_come_late_stop_the_agent_all_the_same() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED)
        await settles(lambda: not talk.playout.paused)
        await talk.sends(final("Stop it."))
        assert talk.turns == 1 and talk.context.get_messages() == [{"role": "user", "content": "Stop it."}]


async def test_after_one_pause_in_vain_the_reply_is_paused_no_more_and_the_next_one_is() -> None:
    async with talking() as talk:
        for number in (1, 2):
            await talk.sends(VADUserStartedSpeakingFrame())
            assert talk.playout.paused is (number == 1)
            await talk.sends(*STOPPED, PauseTextFrame(sample=100, text="Okay."), final("Okay."))
        await talk.sends(BotStoppedSpeakingFrame(), BotStartedSpeakingFrame(), VADUserStartedSpeakingFrame())
        assert talk.playout.paused


async def test_the_agents_own_words_do_not_stop_it() -> None:
    async with talking() as talk:
        for word in ("We", "open", "at", "nine"):
            talk.playout.heard(word)
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.4), interim("open at nine"))
        await asyncio.sleep(0.2)
        assert talk.turns == 0
        await talk.sends(*STOPPED, final("Open at nine."))
        assert talk.turns == 0 and not talk.playout.paused and talk.context.get_messages() == []


async def test_a_noise_while_the_agent_thinks_does_not_cost_the_answer() -> None:
    async with talking(speaks=False) as talk:
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED, final("When do you open?"))
        interruptions = len(talk.at.down.of(InterruptionFrame))
        talk.playout.begin()
        await talk.sends(VADUserStartedSpeakingFrame())
        assert talk.playout.paused
        await talk.sends(*STOPPED, PauseTextFrame(sample=100, text=""), EmptyUtteranceFrame())
        assert len(talk.at.down.of(InterruptionFrame)) == interruptions and not talk.playout.paused
        assert talk.turns == len(talk.at.down.of(UserStoppedSpeakingFrame)) == 1


async def test_an_answer_that_broke_off_leaves_the_word_to_the_caller() -> None:
    async with talking(speaks=False) as talk, dialled("llm", NOWHERE) as nobody:
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED, final("When do you open?"))
        await talk.at.send_up(ErrorFrame("gone", processor=AntiphonLLMService(replicas=nobody)))
        await talk.at.up.until(ErrorFrame)
        await talk.sends(VADUserStartedSpeakingFrame())
        assert talk.turns == 2 and not talk.playout.paused


async def test_a_pause_is_answered_early_only_once_its_words_have_begun_a_turn() -> None:
    async with talking(budget=Budget(2.0)) as talk:
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED, PauseTextFrame(sample=100, text="Okay."))
        assert not talk.at.down.of(LLMContextFrame)
        await talk.sends(VADUserStartedSpeakingFrame(), *STOPPED, PauseTextFrame(sample=100, text="And on Sunday?"))
        assert [frame.speculation for frame in talk.at.down.of(LLMContextFrame)] == [True] and talk.turns == 1


async def test_it_is_told_how_long_an_agent_that_is_heard_took_to_fall_silent() -> None:
    async with talking() as talk:
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.1), interim("Wait"))
        (silenced,) = talk.at.down.of(AgentSilencedFrame)
        assert silenced.after_ms == pytest.approx(100, abs=80) and silenced.after_ms >= 100


async def test_an_agent_that_is_not_paused_again_falls_silent_when_it_is_stopped() -> None:
    async with talking() as talk:
        await talk.sends(
            VADUserStartedSpeakingFrame(), *STOPPED, PauseTextFrame(sample=100, text="Okay."), final("Okay.")
        )
        await talk.sends(VADUserStartedSpeakingFrame(start_secs=0.3))
        assert len(talk.at.down.of(AgentSilencedFrame)) == 1
        await talk.sends(interim("Stop it"))
        assert talk.at.down.of(AgentSilencedFrame)[1].after_ms >= 300


async def test_an_agent_that_is_not_heard_yet_cannot_fall_silent() -> None:
    async with talking(speaks=False) as talk:
        await talk.sends(VADUserStartedSpeakingFrame(), UserStoppedSpeakingFrame())
        assert not talk.at.down.of(AgentSilencedFrame)
