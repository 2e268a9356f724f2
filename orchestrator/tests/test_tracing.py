import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from antiphon_orchestrator.timeline import Outcome, Turn
from antiphon_orchestrator.tracing import Traces
from antiphon_runtime.calls import Call

MS = 1_000_000


class Traced:
    def __init__(self, *, with_text: bool = False) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.call = Call("call-1")
        self.traces = Traces(self.call, "ava", with_text=with_text, tracer=provider.get_tracer("test"))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._kept.get_finished_spans())

    def turn(self, number: int = 1, outcome: Outcome = "answered") -> Turn:
        made = Turn(number, outcome=outcome, heard="My name is Bond.", answered="Hello.", speech_end_ns=1000 * MS)
        made.stage("pause", 1200 * MS)
        made.stage("llm", 1400 * MS)
        made.span("asr", 1200 * MS, 1210 * MS)
        made.first_audio_ns = 1400 * MS
        return made

    def begins(self, turn: Turn) -> None:
        self.traces.turn_begins(turn, time.time_ns())


def of(span: ReadableSpan) -> int:
    assert span.context
    return span.context.trace_id


def test_a_turns_spans_are_one_trace_on_the_clock_of_the_wall() -> None:
    at = Traced()
    turn = at.turn()
    at.begins(turn)
    at.traces.turn_over(turn, 3000 * MS)
    now = time.time_ns()
    assert [span.name for span in at.spans] == ["stage pause", "stage llm", "asr", "turn"]
    assert {trace.format_trace_id(of(span)) for span in at.spans} == {turn.trace_id}
    pause = at.spans[0]
    assert pause.start_time and pause.end_time
    assert pause.end_time - pause.start_time == 200 * MS
    assert now - pause.start_time == pytest.approx(2000 * MS, abs=500 * MS)


def test_each_turn_has_a_trace_of_its_own_and_links_to_the_calls() -> None:
    at = Traced()
    for number in (1, 2):
        turn = at.turn(number)
        at.begins(turn)
        at.traces.turn_over(turn, 3000 * MS)
    at.traces.end("caller", 2)
    roots = [span for span in at.spans if span.name == "turn"]
    (call,) = [span for span in at.spans if span.name == "call"]
    assert len({of(span) for span in (*roots, call)}) == 3
    assert {root.links[0].context.trace_id for root in roots} == {of(call)}
    assert dict(call.attributes or {})["antiphon.call.ended"] == "caller"


def test_an_interrupted_turn_that_closes_late_keeps_its_own_trace() -> None:
    at = Traced()
    first, second = at.turn(1, "interrupted"), at.turn(2)
    at.begins(first)
    at.begins(second)
    assert at.call.turn_id == 2 and at.call.trace_id == second.trace_id
    at.traces.turn_over(first, 3000 * MS)
    assert {of(span) for span in at.spans} == {int(first.trace_id, 16)}


def test_a_turn_that_goes_on_after_a_commit_stays_in_its_trace() -> None:
    at = Traced()
    turn = at.turn()
    at.begins(turn)
    trace_id = turn.trace_id
    at.begins(turn)
    assert turn.trace_id == trace_id == at.call.trace_id


def test_speech_that_comes_to_nothing_leaves_no_span_and_its_number_is_free_again() -> None:
    at = Traced()
    nothing, turn = at.turn(1), at.turn(1)
    at.begins(nothing)
    at.traces.turn_is_none(1)
    at.begins(turn)
    at.traces.turn_over(turn, 3000 * MS)
    assert turn.trace_id != nothing.trace_id
    assert {of(span) for span in at.spans} == {int(turn.trace_id, 16)}


@pytest.mark.parametrize("outcome", ["failed", "unanswered"])
def test_a_turn_without_an_answer_is_an_error(outcome: Outcome) -> None:
    at = Traced()
    turn = at.turn(outcome=outcome)
    at.begins(turn)
    at.traces.turn_over(turn, 3000 * MS)
    assert at.spans[-1].status.status_code is trace.StatusCode.ERROR


@pytest.mark.parametrize("allowed", [False, True])
def test_a_span_holds_what_was_said_only_when_it_may(allowed: bool) -> None:
    at = Traced(with_text=allowed)
    turn = at.turn()
    at.begins(turn)
    at.traces.turn_over(turn, 3000 * MS)
    assert any("Bond" in str(dict(span.attributes or {})) for span in at.spans) == allowed
