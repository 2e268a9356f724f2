"""Which call, and which of its turns, the running code works for: logs, spans and requests to others say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import inject


@dataclass(slots=True)
class Call:
    """A call as far as this process knows it. Tasks started on its behalf share the object, and see the turn change.

    `turn_id` is 0 and `turn` None before the first turn; `turn` is the turn's trace context.
    """

    session_id: str = ""
    turn_id: int = 0
    turn: Context | None = None

    @property
    def trace_id(self) -> str:
        """The turn's trace, 32 hex digits, "" when there is none."""
        span = trace.get_current_span(self.turn).get_span_context() if self.turn else None
        return trace.format_trace_id(span.trace_id) if span and span.is_valid else ""


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """The call that the caller works for, None when for none."""
    return _current.get()


@contextmanager
def working_for(call: Call) -> Iterator[Call]:
    """Everything in the context, and every task started in it, works for `call`."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


def trace_headers(context: Context | None) -> dict[str, str]:
    """W3C `traceparent` (and `tracestate`) of a trace context; nothing of none."""
    carrier: dict[str, str] = {}
    if context is not None:
        inject(carrier, context=context)
    return carrier
