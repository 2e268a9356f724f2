from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from own_bot import Bot, bot
from pipecat.frames.frames import (
    DataFrame,
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

from antiphon_orchestrator.services.frames import EmptyUtteranceFrame
from antiphon_orchestrator.turns.speculation import Budget
from antiphon_orchestrator.turns.strategies import committed_turns


@dataclass
class Mark(DataFrame):
    """Comes out when what was sent before it has been dealt with."""


def text(words: str, *, final: bool = True) -> TranscriptionFrame:
    return TranscriptionFrame(words, "", "", finalized=final)


@asynccontextmanager
async def remembering(budget: Budget | None = None) -> AsyncIterator[tuple[Bot, LLMContext]]:
    context = LLMContext([])
    params = LLMUserAggregatorParams(user_turn_strategies=committed_turns(budget), empty_user_turn=None)
    async with bot(LLMContextAggregatorPair(context, user_params=params).user()) as at:
        yield at, context


async def test_speech_begins_a_turn_and_interrupts_and_the_final_text_ends_it() -> None:
    async with remembering() as (at, context):
        await at.send(VADUserStartedSpeakingFrame())
        await at.down.until(UserStartedSpeakingFrame)
        await at.down.until(InterruptionFrame)
        await at.send(VADUserStoppedSpeakingFrame(), text("Hello there."))
        await at.down.until(LLMContextFrame)
        assert len(at.down.of(UserStoppedSpeakingFrame)) == 1
        assert context.get_messages() == [{"role": "user", "content": "Hello there."}]


async def test_text_that_is_not_final_does_not_end_the_turn_but_belongs_to_it() -> None:
    async with remembering() as (at, context):
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), text("I would", final=False))
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), text("like tea."))
        await at.down.until(LLMContextFrame)
        assert len(at.down.of(UserStoppedSpeakingFrame)) == 1
        assert context.get_messages() == [{"role": "user", "content": "I would like tea."}]


async def test_an_empty_utterance_ends_the_turn_and_asks_no_model() -> None:
    async with remembering() as (at, context):
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), EmptyUtteranceFrame())
        await at.down.until(UserStoppedSpeakingFrame)
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), text("Hello."))
        await at.down.until(LLMContextFrame)
        assert len(at.down.of(LLMContextFrame)) == 1
        assert context.get_messages() == [{"role": "user", "content": "Hello."}]


async def test_an_empty_utterance_after_text_ends_the_turn_with_that_text() -> None:
    async with remembering() as (at, context):
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), text("I would", final=False))
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), EmptyUtteranceFrame())
        await at.down.until(LLMContextFrame)
        assert context.get_messages() == [{"role": "user", "content": "I would"}]


async def test_a_final_text_that_comes_while_the_caller_speaks_on_does_not_end_the_turn() -> None:
    async with remembering() as (at, context):
        await at.send(VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), VADUserStartedSpeakingFrame())
        await at.down.until(VADUserStartedSpeakingFrame, 2)
        await at.send(text("I would"), Mark())
        await at.down.until(Mark)
        await at.send(VADUserStoppedSpeakingFrame(), text("like tea."))
        await at.down.until(LLMContextFrame)
        assert len(at.down.of(LLMContextFrame)) == 1
        assert context.get_messages() == [{"role": "user", "content": "I would like tea."}]
