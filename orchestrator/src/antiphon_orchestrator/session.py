"""One conversation's state."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext

from antiphon_runtime.calls import Call

from .agents import Agent
from .call_metrics import CallMetrics
from .containment import Containment
from .limits import LimitReports
from .metrics import Ending
from .timeline import Turn
from .tracing import Traces
from .turns.playout import Playout

if TYPE_CHECKING:
    from .door import Door
    from .manners.closing import Closing

INPUT_RATE_HZ = 16_000
OUTPUT_RATE_HZ = 24_000
# Of a reply, less than this left to be heard is nothing.
TAIL_MS = 100.0


@dataclass(slots=True)
class Session:
    """A conversation's name, its agent, and what has happened in it so far. `ended` says by whom, None before."""

    session_id: str
    agent_name: str
    agent: Agent
    call: Call
    traces: Traces
    containment: Containment
    metrics: CallMetrics
    limit_reached: LimitReports
    ended: Ending | None = None
    turns: list[Turn] = field(default_factory=list)
    context: LLMContext = field(default_factory=LLMContext)
    worker: PipelineWorker | None = None
    closing: "Closing | None" = None
    # Its transport's `audio_out_filter`.
    playout: Playout = field(default_factory=Playout)
    # Entry of the caller's messages.
    door: "Door | None" = None

    def end(self, by: Ending) -> None:
        """Notes who ended it; whoever is first did."""
        self.ended = self.ended or by

    def was_cut_off(self) -> bool:
        """Return True if the caller hung up while some of the agent's reply was still to be heard."""
        left_ms = self.playout.left_ms
        return self.ended == "caller" and (left_ms is None or left_ms > TAIL_MS)

    async def hang_up(self) -> None:
        """Ends the conversation from our side."""
        self.end("server")
        if self.closing:
            self.closing.line_is_gone()
        if self.worker:
            await self.worker.cancel()

    def to_json(self) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "agent": self.agent_name,
            "ended": self.ended,
            "turns": [turn.to_json() for turn in self.turns],
        }
