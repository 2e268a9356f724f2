"""Pipecat's context aggregators, with tool calls that are settled whatever the order of their frames."""

from typing import Any

from pipecat.frames.frames import Frame, FunctionCallCancelFrame, FunctionCallInProgressFrame, FunctionCallsStartedFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMAssistantAggregator,
    LLMAssistantAggregatorParams,
    LLMContextAggregatorPair,
)
from pipecat.processors.frame_processor import FrameDirection


class ToolSettlingAggregator(LLMAssistantAggregator):
    """Records a cancelled tool call as CANCELLED also when its cancellation comes before its beginning.

    A FunctionCallInProgressFrame waits behind the agent's speech, and the FunctionCallCancelFrame of an interruption
    overtakes it. Pipecat drops the latter then, and the context holds IN_PROGRESS for ever.
    """

    def __init__(self, context: LLMContext, **kwargs: Any) -> None:
        super().__init__(context, **kwargs)
        self._begun: set[str] = set()
        # Cancellations that arrived before their call. Those of calls that never run stay, at most one per call.
        self._cancelled: dict[str, FunctionCallCancelFrame] = {}

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        match frame:
            case FunctionCallsStartedFrame():
                for call in frame.function_calls:
                    self._begun.discard(call.tool_call_id)
                    self._cancelled.pop(call.tool_call_id, None)
            case FunctionCallCancelFrame() if frame.tool_call_id not in self._begun:
                self._cancelled[frame.tool_call_id] = frame
        await super().process_frame(frame, direction)
        if isinstance(frame, FunctionCallInProgressFrame):
            self._begun.add(frame.tool_call_id)
            if cancelled := self._cancelled.pop(frame.tool_call_id, None):
                await super().process_frame(cancelled, direction)


class ContextPair(LLMContextAggregatorPair):
    """A pair of aggregators whose assistant's side settles every tool call."""

    def __init__(
        self, context: LLMContext, *, assistant_params: LLMAssistantAggregatorParams | None = None, **kwargs: Any
    ) -> None:
        super().__init__(context, assistant_params=assistant_params, **kwargs)
        self._assistant = ToolSettlingAggregator(context, params=assistant_params, _paired_user_aggregator=self.user())
