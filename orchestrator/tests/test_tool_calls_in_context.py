"""Tool calls in the context, in whatever order their frames come."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from own_bot import bot
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ControlFrame,
    Frame,
    FunctionCallCancelFrame,
    FunctionCallFromLLM,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext

from antiphon_orchestrator.services.tool_calls_in_context import ContextPair


def started(call_id: str) -> Frame:
    call = FunctionCallFromLLM(function_name="brew", tool_call_id=call_id, arguments={}, context=LLMContext())
    return FunctionCallsStartedFrame([call])


def begun(call_id: str) -> Frame:
    return FunctionCallInProgressFrame(
        function_name="brew", tool_call_id=call_id, arguments={}, cancel_on_interruption=True, group_id="1"
    )


def cancelled(call_id: str) -> Frame:
    return FunctionCallCancelFrame(function_name="brew", tool_call_id=call_id)


def result(call_id: str) -> Frame:
    return FunctionCallResultFrame(function_name="brew", tool_call_id=call_id, arguments={}, result="tea")


def merged(*queues: list[Frame]) -> list[Frame]:
    """The frames of several queues, each in its order, mixed at random."""
    left, frames = [list(queue) for queue in queues], []
    while any(left):
        frames.append(random.choice([queue for queue in left if queue]).pop(0))
    return frames


def stories(call_id: str) -> Iterator[list[Frame]]:
    """Frames of a response with text and a call: what waits behind speech, and what overtakes it, mixed at random."""
    speech = [LLMFullResponseStartFrame(), LLMTextFrame("Let me see. "), LLMFullResponseEndFrame()]
    noise = [BotStartedSpeakingFrame(), UserStartedSpeakingFrame(), InterruptionFrame()]
    after = [BotStoppedSpeakingFrame(), UserStoppedSpeakingFrame()]
    yield [started(call_id), *merged([*speech, begun(call_id)], [*noise, cancelled(call_id), *after])]
    yield [started(call_id), *merged([*speech, begun(call_id), result(call_id)], [*noise, cancelled(call_id), *after])]
    yield [started(call_id), *merged([*speech, begun(call_id), result(call_id)], noise)]
    other = f"{call_id}b"
    yield [
        started(call_id),
        started(other),
        *merged([begun(call_id), begun(other), result(other)], [cancelled(call_id)], [*noise, *after], speech),
    ]


async def test_no_call_stays_in_progress_in_any_order_of_its_frames() -> None:
    random.seed(16)
    context = LLMContext()
    async with bot(ContextPair(context).assistant()) as at:
        sent = 0
        for number in range(12):
            for which, frames in enumerate(stories(f"{number}")):
                for frame in frames:
                    # One by one: sent together, those that overtake others would all come first.
                    await at.send(_renamed(frame, which), Mark())
                    sent += 1
                    await at.down.until(Mark, sent)
        marks = [one["content"] for one in context.get_messages() if one["role"] == "tool"]
    assert len(marks) == 12 * 5
    assert set(marks) == {"CANCELLED", '"tea"'}


@dataclass
class Mark(ControlFrame):
    """Comes out when everything before it has been handled."""

    interruptible: bool = field(default=False, init=False)


def _renamed(frame: Frame, which: int) -> Frame:
    if isinstance(frame, FunctionCallsStartedFrame):
        for call in frame.function_calls:
            call.tool_call_id += f"-{which}"
    elif isinstance(frame, FunctionCallInProgressFrame | FunctionCallCancelFrame | FunctionCallResultFrame):
        frame.tool_call_id += f"-{which}"
    return frame
