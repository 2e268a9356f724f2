"""Traces, logs and `antiphon why` of a call through all five processes, as they leave them."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from otlp_receiver import Collector, Received, collecting

from antiphon_bench import questions
from antiphon_bench.call import Call
from antiphon_bench.caller import place_call
from antiphon_cli.platform import Plan, free_ports
from antiphon_cli.supervisor import running

pytestmark = pytest.mark.slow

PROCESSES = {f"antiphon-{name}" for name in ("orchestrator", "asr", "tts", "llm", "turn")}
SECRET_WORDS = "What is the weather in Lisbon?"


@dataclass
class Traced:
    call: Call
    collector: Collector
    # What each process logged, line by line.
    logs: dict[str, list[str]]
    why: str


def plan(collector: Collector, **env: str) -> Plan:
    services = ("ASR", "TTS", "LLM", "TURN", "ORCHESTRATOR")
    return Plan(
        models="stub",
        ports=free_ports(),
        metrics=False,
        otlp_url=collector.url,
        env={
            **{f"ANTIPHON_{name}_LOG_FORMAT": "json" for name in services},
            "ANTIPHON_ASR_STUB__SCRIPT": SECRET_WORDS,
            **env,
        },
    )


def why(name: str, page: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "antiphon_cli", "why", name, "--url", page, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def conversed(going: Plan, logs: dict[str, list[str]]) -> tuple[Call, str]:
    """A call to a platform, and what `antiphon why` says of it."""
    async with running(going, lambda name, line: logs.setdefault(name, []).append(line)):
        call = await place_call(going.call_url, questions()[:2])
        told = why(call.session_id, going.page)
        assert told.returncode == 0, told.stderr
        trace_id = call.turns[0].trace_id
        (turn,) = json.loads(why(trace_id, going.page, "--json").stdout)["turns"]
        assert turn["trace_id"] == trace_id
        unknown = why("nobody", going.page)
        assert unknown.returncode == 2 and "remembers no call or trace nobody" in unknown.stderr
    return call, told.stdout


@pytest.fixture(scope="module", params=["without text", "with text"])
def traced(request: pytest.FixtureRequest) -> Traced:
    env = {"ANTIPHON_ORCHESTRATOR_LOG_TEXT": "true"} if request.param == "with text" else {}
    with collecting() as collector:
        logs: dict[str, list[str]] = {}
        call, told = asyncio.run(conversed(plan(collector, **env), logs))
    return Traced(call, collector, logs, told)


def turn_span(traced: Traced, trace_id: str) -> Received:
    return next(span for span in traced.collector.of_trace(trace_id) if span.name == "turn")


def test_one_trace_a_turn_holds_spans_of_all_five_processes(traced: Traced) -> None:
    traces = [turn.trace_id for turn in traced.call.turns]
    assert len(set(traces)) == len(traces) == 2
    for trace_id in traces:
        spans = traced.collector.of_trace(trace_id)
        assert {span.service for span in spans} == PROCESSES, [(span.service, span.name) for span in spans]
        root = turn_span(traced, trace_id)
        assert root.parent_id == ""
        known = {span.span_id for span in spans}
        assert {span.parent_id for span in spans if span is not root} <= known
        of_services = {span.name for span in spans if span.service != "antiphon-orchestrator"}
        assert {"asr.finalize", "turn.verdict"} <= of_services
        assert {
            f"antiphon.{name}" for name in ("llm.v1.LlmService/Generate", "tts.v1.TtsService/Synthesize")
        } <= of_services


def test_a_turns_stages_are_spans_that_tile_it_and_agree_with_its_report(traced: Traced) -> None:
    for turn in traced.call.turns:
        spans = traced.collector.of_trace(turn.trace_id)
        stages = sorted((span for span in spans if span.name.startswith("stage ")), key=lambda one: one.start_ns)
        assert [span.name.removeprefix("stage ") for span in stages] == [stage.name for stage in turn.stages]
        assert all(one.end_ns == after.start_ns for one, after in pairwise(stages))
        assert (stages[-1].end_ns - stages[0].start_ns) / 1e6 == pytest.approx(turn.v2v_ms, abs=0.01)
        root = turn_span(traced, turn.trace_id)
        assert root.start_ns <= stages[0].start_ns and stages[-1].end_ns <= root.end_ns
        assert root.attributes["antiphon.turn.outcome"] == "answered"


def test_turns_link_to_their_calls_own_trace(traced: Traced) -> None:
    call = next(span for span in traced.collector.spans if span.name == "call")
    assert call.attributes["antiphon.session.id"] == traced.call.session_id
    assert call.attributes["antiphon.call.ended"] == "caller"
    assert all(turn_span(traced, turn.trace_id).linked == (call.trace_id,) for turn in traced.call.turns)


def test_what_was_said_is_told_only_when_a_setting_allows_it(traced: Traced, request: pytest.FixtureRequest) -> None:
    allowed = request.node.callspec.params["traced"] == "with text"
    written = json.dumps([span.attributes for span in traced.collector.spans], default=str)
    assert (SECRET_WORDS in written) == allowed
    assert (SECRET_WORDS in json.dumps(traced.logs)) <= allowed


def entries(traced: Traced, process: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in traced.logs[process] if line.startswith("{")]


def test_every_turn_is_one_line_of_the_log_with_its_ids_and_stages(traced: Traced) -> None:
    lines = [entry for entry in entries(traced, "orchestrator") if "stages_ms" in entry]
    assert [line["turn_id"] for line in lines] == [1, 2]
    for line, turn in zip(lines, traced.call.turns, strict=True):
        assert line["session_id"] == traced.call.session_id
        assert (line["trace_id"], line["outcome"]) == (turn.trace_id, "answered")
        assert sum(line["stages_ms"].values()) == pytest.approx(line["v2v_ms"], abs=1)


@pytest.mark.parametrize("service", ["asr", "tts", "llm", "turn"])
def test_a_services_log_names_the_call(traced: Traced, service: str) -> None:
    named = [entry for entry in entries(traced, service) if entry.get("session_id") == traced.call.session_id]
    assert named


def test_why_tells_of_each_turn_what_it_took(traced: Traced) -> None:
    for turn in traced.call.turns:
        assert turn.trace_id in traced.why
        assert f"It took {turn.v2v_ms:.0f} ms" in " ".join(traced.why.split())


async def test_a_collector_that_is_away_costs_no_call() -> None:
    going = plan(Collector("http://127.0.0.1:9"))
    async with running(going, lambda _name, _line: None):
        call = await place_call(going.call_url, questions()[:1])
    assert [turn.outcome for turn in call.turns] == ["answered"]
