"""A caller who does not speak, from the beginning of the call on."""

import asyncio

from own_bot import bot, settles
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ClientConnectedFrame,
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    FunctionCallFromLLM,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from test_tool_calls_in_context import cancelled, result

from antiphon_orchestrator.manners.idle import IdleWatch, Silence

CALLED = FunctionCallsStartedFrame([FunctionCallFromLLM("brew", "1", {}, context=LLMContext())])


def after(*frames: Frame, idle_s: float = 20) -> float | None:
    """Return the time-out after these frames, with 12 s for an answer and 10 s for a tool."""
    silence = Silence(idle_s, 12, 10)
    for frame in frames:
        silence.note(frame)
    return silence.patience_s


def test_the_time_runs_from_the_connection() -> None:
    assert after() is None
    assert after(ClientConnectedFrame()) == 20
    assert after(ClientConnectedFrame(), idle_s=0) is None


def test_a_line_that_is_repaired_is_no_beginning() -> None:
    silence = Silence(20, 12, 10)
    assert silence.note(ClientConnectedFrame()) and not silence.note(ClientConnectedFrame())


def test_nobody_is_waited_for_while_somebody_speaks() -> None:
    here = ClientConnectedFrame()
    assert after(here, UserStartedSpeakingFrame()) is None
    assert after(here, BotStartedSpeakingFrame()) is None
    assert after(here, UserStartedSpeakingFrame(), UserStoppedSpeakingFrame()) == 20  # no words
    assert after(here, BotStartedSpeakingFrame(), BotStoppedSpeakingFrame()) == 20
    # An interruption: the agent stops while the caller speaks.
    spoke = (BotStartedSpeakingFrame(), UserStartedSpeakingFrame(), InterruptionFrame(), BotStoppedSpeakingFrame())
    assert after(here, *spoke) is None
    assert after(here, *spoke, UserStoppedSpeakingFrame()) == 20


def test_what_is_under_way_has_its_own_time_and_no_more() -> None:
    asked = (
        ClientConnectedFrame(),
        UserStartedSpeakingFrame(),
        UserStoppedSpeakingFrame(),
        LLMFullResponseStartFrame(),
    )
    assert after(*asked) == 32
    assert after(*asked, ErrorFrame("gone")) == 20
    assert after(*asked, CALLED) == 42
    assert after(*asked, CALLED, result("1")) == after(*asked, CALLED, cancelled("1")) == 32
    assert after(*asked, CALLED, InterruptionFrame()) == 20
    assert after(*asked, BotStartedSpeakingFrame(), BotStoppedSpeakingFrame()) == 20
    early = (ClientConnectedFrame(), UserStartedSpeakingFrame(), LLMFullResponseStartFrame())
    assert after(*early, UserStoppedSpeakingFrame()) == 32
    assert after(*early, EagerEndOfTurnCancelFrame(), UserStoppedSpeakingFrame()) == 20


def test_errors_in_a_row_do_not_put_the_wait_off() -> None:
    silence = Silence(20, 12, 10)
    silence.note(ClientConnectedFrame())
    assert not any(silence.note(ErrorFrame("gone")) for _ in range(5))


async def test_a_silent_caller_is_asked_for_again_and_again_also_when_nothing_can_be_said() -> None:
    asked = 0

    async def on_idle() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise RuntimeError("whatever")

    async with bot(IdleWatch(Silence(0.02, 60, 60), on_idle)) as at:
        await at.send(ClientConnectedFrame())
        await settles(lambda: asked >= 4)
        await at.send(UserStartedSpeakingFrame())
        await at.down.until(UserStartedSpeakingFrame)
        before = asked
        await asyncio.sleep(0.1)
        assert asked == before
        await at.send(UserStoppedSpeakingFrame())
        await settles(lambda: asked > before)
        await at.worker.stop_when_done()
        await settles(at.running.done)
    ended = asked
    await asyncio.sleep(0.1)
    assert asked == ended
