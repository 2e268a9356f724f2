import re

import pytest
from pipecat.frames.frames import LLMFullResponseEndFrame, LLMFullResponseStartFrame
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from told import Told, called, result

from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.timeline import Outcome, Slowed, Turn


class Counted:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics.register(self.registry)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def counted() -> Counted:
    return Counted()


async def answered(*, tool: bool = False) -> Turn:
    """A turn of 610 ms, or one with a tool."""
    told = Told()
    await told.asks(1000, 2000)
    if tool:
        await told.at(2310, LLMFullResponseStartFrame())
        await told.at(2410, called("get_time"), LLMFullResponseEndFrame())
        await told.at(2510, result("get_time"))
    await told.answers(2510 if tool else 2310)
    return told.turns[0]


async def test_an_answered_turn_is_observed(counted: Counted) -> None:
    counted.metrics.observe(await answered())
    assert counted.sample("antiphon_turns_total", outcome="answered") == 1
    assert counted.sample("antiphon_v2v_seconds_sum", outcome="answered") == pytest.approx(0.610)
    assert counted.sample("antiphon_ttfb_seconds_sum", service="asr") == pytest.approx(0.050)
    assert counted.sample("antiphon_ttfb_seconds_sum", service="llm") == pytest.approx(0.150)
    assert counted.sample("antiphon_ttfb_seconds_sum", service="tts") == pytest.approx(0.080)
    assert counted.sample("antiphon_ttfb_seconds_sum", service="turn") == pytest.approx(0.030)


@pytest.mark.parametrize("tool", [False, True])
async def test_stages_are_observed_once_a_turn_and_add_up_to_its_v2v(counted: Counted, tool: bool) -> None:
    counted.metrics.observe(await answered(tool=tool))
    stages = [
        sample
        for family in counted.registry.collect()
        for sample in family.samples
        if sample.name == "antiphon_stage_seconds_sum"
    ]
    v2v = counted.sample("antiphon_v2v_seconds_sum", outcome="answered")
    assert sum(sample.value for sample in stages) == pytest.approx(v2v)
    assert counted.sample("antiphon_stage_seconds_count", stage="llm") == 1
    assert counted.sample("antiphon_stage_seconds_count", stage="tool") == (1 if tool else 0)


@pytest.mark.parametrize("outcome", ["failed", "unanswered", "interrupted"])
async def test_a_turn_without_an_answer_is_counted_and_never_averaged(counted: Counted, outcome: Outcome) -> None:
    turn = Turn(1, outcome=outcome, heard="Hello.", speech_end_ns=0)
    turn.stage("pause", 200_000_000)
    counted.metrics.observe(turn)
    assert counted.sample("antiphon_turns_total", outcome=outcome) == 1
    for kind in ("answered", outcome):
        assert counted.sample("antiphon_v2v_seconds_count", outcome=kind) == 0
    assert counted.sample("antiphon_stage_seconds_count", stage="pause") == 0


@pytest.mark.parametrize("outcome", ["failed", "interrupted"])
async def test_an_answer_that_did_not_end_well_is_measured_apart(counted: Counted, outcome: Outcome) -> None:
    turn = await answered()
    turn.outcome = outcome
    counted.metrics.observe(turn)
    assert counted.sample("antiphon_v2v_seconds_count", outcome=outcome) == 1
    assert counted.sample("antiphon_v2v_seconds_count", outcome="answered") == 0


async def test_a_turn_that_was_never_closed_counts_as_failed(counted: Counted) -> None:
    counted.metrics.observe(Turn(1))
    assert counted.sample("antiphon_turns_total", outcome="failed") == 1


async def test_a_turns_trace_is_the_exemplar_of_its_latencies(counted: Counted) -> None:
    turn = await answered()
    turn.trace_id, turn.barge_in_ms = "ab" * 16, 120.0
    counted.metrics.observe(turn)
    exposed = generate_latest(counted.registry).decode()
    for name in ("v2v", "stage", "ttfb", "barge_in"):
        pattern = rf'antiphon_{name}_seconds_bucket\{{.*\}} 1.0 # \{{trace_id="{turn.trace_id}"\}}'
        assert re.search(pattern, exposed), name


async def test_what_became_of_answers_begun_early_is_counted(counted: Counted) -> None:
    turn = await answered()
    turn.speculated, turn.dropped, turn.llm_calls, turn.false_interruptions = True, 2, 3, 1
    counted.metrics.observe(turn)
    for event, count in {"started": 3, "committed": 1, "dropped": 2}.items():
        assert counted.sample("antiphon_speculations_total", event=event) == count
    assert counted.sample("antiphon_llm_calls_per_turn_bucket", le="3.0") == 1
    assert counted.sample("antiphon_llm_calls_per_turn_bucket", le="2.0") == 0
    assert counted.sample("antiphon_false_interruptions_total") == 1


@pytest.mark.parametrize(("usual_v2v_ms", "slow"), [(500, 1), (600, 0)])
async def test_a_slow_turn_is_counted_under_the_stage_that_made_it_slow(
    counted: Counted, usual_v2v_ms: float, slow: int
) -> None:
    turn = await answered()
    turn.slowed_by = Slowed("llm", 150, 100, usual_v2v_ms, 20)
    counted.metrics.observe(turn)
    assert counted.sample("antiphon_slow_turns_total", stage="llm") == slow


@pytest.mark.parametrize(("name", "label"), [("get_time", "get_time"), ("someone_elses", "other")])
async def test_a_tool_is_timed_under_a_name_of_ours_or_as_another(counted: Counted, name: str, label: str) -> None:
    turn = await answered()
    turn.span(f"tool {name}", 0, 300_000_000)
    counted.metrics.observe(turn)
    assert counted.sample("antiphon_tool_seconds_sum", tool=label) == pytest.approx(0.3)


def test_every_series_is_there_before_anything_has_happened(counted: Counted) -> None:
    """So that an alert's rate is 0 and not nothing."""
    for family in counted.registry.collect():
        assert family.samples, family.name
