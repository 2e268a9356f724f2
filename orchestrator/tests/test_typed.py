"""Typed turns, as the aggregator, the strategies and the observer see them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from own_bot import Bot, bot, settles
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
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
from test_speculation import passes
from test_strategies import text
from told import Told

from antiphon_orchestrator.services.frames import CommitTurnFrame, EmptyUtteranceFrame, TypedTextFrame
from antiphon_orchestrator.timeline import Turn
from antiphon_orchestrator.turns.playout import Playout
from antiphon_orchestrator.turns.speculation import Budget
from antiphon_orchestrator.turns.strategies import committed_turns
from antiphon_orchestrator.turns.typed import MOST_WAITING, TypedTurns


@dataclass
class Typing:
    at: Bot
    context: LLMContext
    turns: list[Turn] = field(default_factory=list)
    refused: int = 0

    @property
    def said(self) -> list[object]:
        return [message["content"] for message in self.context.get_messages()]  # type: ignore[index]

    async def types(self, words: str) -> None:
        await self.at.send(TypedTextFrame(text=words))


@asynccontextmanager
async def typing() -> AsyncIterator[Typing]:
    context = LLMContext()
    strategies = committed_turns(Budget(1.75), "", Playout())
    params = LLMUserAggregatorParams(user_turn_strategies=strategies, empty_user_turn=None)
    memory = LLMContextAggregatorPair(context, user_params=params)
    found = Typing(None, context)  # type: ignore[arg-type]

    async def refuse() -> None:
        found.refused += 1

    told = Told()
    found.turns, observer = told.turns, told.observer
    async with bot(TypedTurns(refuse), memory.user(), observers=[observer]) as found.at:
        yield found
    await observer.finish()


async def test_a_typed_text_is_a_turn_with_an_answer() -> None:
    async with typing() as call:
        await call.types("Where is Rome?")
        await call.at.down.until(LLMContextFrame)
        await call.at.down.until(UserStoppedSpeakingFrame)
        assert len(call.at.down.of(UserStartedSpeakingFrame)) == 1
        assert call.said == ["Where is Rome?"]
    (turn,) = call.turns
    assert (turn.heard, turn.commit_reason, turn.outcome) == ("Where is Rome?", "typed", "unanswered")
    assert turn.v2v_ms is None


async def test_a_typed_text_interrupts_the_agent_whatever_it_says() -> None:
    async with typing() as call:
        await passes(call.at, BotStartedSpeakingFrame())
        await call.types("mm-hmm")  # spoken, it would not
        await call.at.down.until(LLMContextFrame)
        assert call.at.down.of(InterruptionFrame) and call.said == ["mm-hmm"]


async def test_a_text_that_is_typed_while_the_caller_speaks_waits_for_the_words_and_is_the_next_turn() -> None:
    async with typing() as call:
        await passes(call.at, VADUserStartedSpeakingFrame())
        await call.types("and Paris?")
        assert call.said == []
        await passes(call.at, VADUserStoppedSpeakingFrame(), CommitTurnFrame(sample=1))
        await call.types("and London?")
        assert call.said == []
        await call.at.send(text("Where is Rome?"))
        await call.at.down.until(LLMContextFrame, 2)
        assert call.said == ["Where is Rome?", "and Paris? and London?"]
    assert [turn.commit_reason for turn in call.turns] == ["", "typed"]


async def test_a_text_waits_for_all_of_what_is_being_said() -> None:
    async with typing() as call:
        await passes(call.at, VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame(), CommitTurnFrame(sample=1))
        await passes(call.at, VADUserStartedSpeakingFrame())  # the caller goes on before the words are there
        await call.types("typed")
        await passes(call.at, text("one", final=False))
        assert not [one for one in call.at.down.of(TranscriptionFrame) if one.text == "typed"]
        await passes(call.at, VADUserStoppedSpeakingFrame(), CommitTurnFrame(sample=2))
        await call.at.send(text("two"))
        await call.at.down.until(LLMContextFrame, 2)
        assert call.said == ["one two", "typed"]


async def test_noise_only_delays_a_typed_text() -> None:
    async with typing() as call:
        await passes(call.at, VADUserStartedSpeakingFrame())
        await call.types("Where is Rome?")
        await passes(call.at, VADUserStoppedSpeakingFrame(), CommitTurnFrame(sample=1))
        await call.at.send(EmptyUtteranceFrame())
        await call.at.down.until(LLMContextFrame)
        assert call.said == ["Where is Rome?"]


async def test_texts_that_wait_are_bounded() -> None:
    async with typing() as call:
        await passes(call.at, VADUserStartedSpeakingFrame())
        for number in range(MOST_WAITING + 3):
            await call.types(str(number))
        await settles(lambda: call.refused == 3)
