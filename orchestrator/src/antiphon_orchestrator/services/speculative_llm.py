"""A language model whose answers to unfinished turns go on to the voice."""

from typing import Any

from pipecat.frames.frames import EagerEndOfTurnCancelFrame, Frame, LLMContextFrame, LLMFullResponseStartFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.turns.speculation_gate import SpeculationGate

from .llm import AntiphonLLMService
from .speculation import Withdrawals, mark_speculative


class _OpenGate(SpeculationGate):
    """Knows, as Pipecat's does, whether an answer counts yet, and holds nothing."""

    def _begin(self) -> list[Any]:
        return []


class SpeculativeLLMService(AntiphonLLMService):
    """Marks the answers that may be withdrawn instead of holding them: a ReplyGate must stand after the voice."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._withdrawals = Withdrawals()
        self._asked: LLMContextFrame | None = None
        self._speculation_gate = _OpenGate(name=f"{self}::SpeculationGate")

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, EagerEndOfTurnCancelFrame):
            # Pipecat drops the answer that has begun; this also the one that was asked for and has not.
            await self._start_interruption()
        if isinstance(frame, EagerEndOfTurnCancelFrame | LLMContextFrame) and self._withdrawals.is_stale(frame):
            return
        if isinstance(frame, LLMContextFrame):
            self._asked = frame if frame.speculation else None
        await super().process_frame(frame, direction)

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if isinstance(frame, LLMFullResponseStartFrame) and self._asked and self._speculation_gate.is_speculating:
            mark_speculative(frame, self._asked)
        await super().push_frame(frame, direction)
