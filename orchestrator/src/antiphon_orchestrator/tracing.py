"""A call's traces: one for the call, and one for each turn, which links to it."""

import time
from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.context import Context

from antiphon_runtime.calls import Call

from .timeline import Span, Turn

BAD_OUTCOMES = ("failed", "unanswered")


class Traces:
    """The spans of one call. `call` always names the newest turn, for what is sent to the services meanwhile.

    A turn's trace begins with the caller's speech, before it is known whether there are words in it: one that comes to
    nothing is never ended, and so reaches nobody.
    """

    def __init__(self, call: Call, agent: str, *, with_text: bool = False, tracer: trace.Tracer | None = None) -> None:
        """`with_text`: whether what was said may be in a span. Default tracer: the process's."""
        self._call = call
        self._with_text = with_text
        self._tracer = tracer or trace.get_tracer("antiphon.orchestrator")
        self._about = {"antiphon.session.id": call.session_id, "antiphon.agent": agent}
        self._whole = self._tracer.start_span("call", attributes=self._about)
        self._turns: dict[int, trace.Span] = {}

    def turn_begins(self, turn: Turn, onset_ns: int) -> None:
        """Speech of the turn began at `onset_ns`, of `time.time_ns`; it may not be the turn's first."""
        if turn.turn_id not in self._turns:
            link = trace.Link(self._whole.get_span_context())
            self._turns[turn.turn_id] = self._tracer.start_span(
                "turn", context=Context(), links=[link], attributes=self._about, start_time=onset_ns
            )
        if turn.turn_id != self._call.turn_id or not turn.trace_id:
            self._call.turn_id = turn.turn_id
            self._call.turn = trace.set_span_in_context(self._turns[turn.turn_id])
            turn.trace_id = self._call.trace_id

    def turn_is_none(self, turn_id: int) -> None:
        """Nothing was said in it."""
        self._turns.pop(turn_id, None)

    def turn_over(self, turn: Turn, now_ns: int) -> None:
        """Ends the turn's trace. `now_ns` is the present on the timeline's clock."""
        span = self._turns.pop(turn.turn_id, None)
        if span is None:
            return
        zero_ns = time.time_ns() - now_ns
        within = trace.set_span_in_context(span)
        self._add((f"stage {stage.name}" for stage in turn.stages), turn.stages, within, zero_ns)
        self._add((part.name for part in turn.spans), turn.spans, within, zero_ns)
        for name, value in _facts(turn).items():
            span.set_attribute(f"antiphon.turn.{name}", value)
        if self._with_text:
            span.set_attributes({"antiphon.turn.heard": turn.heard, "antiphon.turn.answered": turn.answered})
        if turn.outcome in BAD_OUTCOMES:
            span.set_status(trace.StatusCode.ERROR, turn.outcome)
        span.end()

    def end(self, reason: str, turns: int) -> None:
        """The call is over."""
        self._whole.set_attributes({"antiphon.call.ended": reason, "antiphon.call.turns": turns})
        self._whole.end()

    def _add(self, names: Iterable[str], parts: Iterable[Span], within: Context, zero_ns: int) -> None:
        for name, part in zip(names, parts, strict=True):
            child = self._tracer.start_span(name, context=within, start_time=zero_ns + part.start_ns)
            child.end(end_time=zero_ns + part.end_ns)


def _facts(turn: Turn) -> dict[str, str | int | float | bool]:
    facts = {
        "id": turn.turn_id,
        "outcome": turn.outcome,
        "v2v_ms": turn.v2v_ms,
        "commit_reason": turn.commit_reason,
        "llm_calls": turn.llm_calls,
        "speculated": turn.speculated,
        "dropped": turn.dropped,
    }
    return {name: value for name, value in facts.items() if value is not None}
