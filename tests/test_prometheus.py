"""A real Prometheus over a live platform under load: its boards, its alerts and its latencies are true."""

import asyncio
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from board_image import draw
from real_prometheus import RULES, needs_prometheus
from watched_platform import CALLS, CANARY_CALLS, TURNS, Phase, Watched, watch

from antiphon_bench.load.plan import Transport
from antiphon_orchestrator.timeline import OUTCOMES
from antiphon_runtime.metrics import LATENCY_BUCKETS

pytestmark = [pytest.mark.slow, pytest.mark.alone, needs_prometheus, pytest.mark.timeout(900)]

IMAGE = Path(__file__).parents[1] / "out/boards/latency.png"
BOARDS = RULES.parent / "grafana/dashboards"
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "30s", "$__range": "3m", "$instance": ".*", "$stage": "llm"}
# Of the turns, so many are answered where the machine keeps time; else fewer by twice its share of delays.
MOST = 0.95
# Callers are heard and hear in ticks of 20 ms.
ROOM_MS = 40.0
# What counts as late of what the orchestrator does four times a second.
LATE_LE = "0.05"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with asyncio.Runner() as runner:
        watching = watch(tmp_path_factory.mktemp("prometheus"))
        yield runner.run(anext(watching))  # type: ignore[arg-type]
        runner.run(watching.aclose())  # type: ignore[attr-defined]


def panels(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each Prometheus query of a board, with its panel's title."""
    for panel in board["panels"]:
        yield from panels(panel) if panel.get("panels") else ()
        for target in panel.get("targets", ()):
            if "expr" in target:
                yield panel["title"], target["expr"]


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


@pytest.mark.parametrize("name", ["latency", "capacity", "call"])
def test_every_panel_shows_data(watched: Watched, name: str) -> None:
    board = json.loads((BOARDS / f"{name}.json").read_text())
    start = watched.phases[Transport.WS].start
    queries = list(panels(board))
    assert queries
    empty = [(title, query) for title, query in queries if not watched.at.values(filled(query), start, watched.end)]
    assert not empty, empty


def test_every_selector_of_every_alert_and_rule_has_data(watched: Watched) -> None:
    texts = [
        rule["expr"]
        for name in ("rules.yml", "alerts.yml")
        for group in yaml.safe_load((RULES / name).read_text())["groups"]
        for rule in group["rules"]
    ]
    selectors = {
        found for text in texts for found in re.findall(r"antiphon[:a-z0-9_]+(?:\{[^}]*\})?(?:\[\w+\])?", text)
    }
    assert len(selectors) > 30
    missing = [one for one in selectors if not watched.at.query(f"count({_bare(one)})", watched.end)]
    assert not missing, missing


def _bare(selector: str) -> str:
    return re.sub(r"\[\w+\]", "", selector)


def test_no_alert_fires_without_its_cause(watched: Watched) -> None:
    """On a machine that is too busy for it the platform is not healthy, and may say so."""
    turns = [turn for phase in (*watched.phases.values(), watched.canary) for turn in phase.turns]
    failed = sum(turn["outcome"] in ("failed", "unanswered") for turn in turns)
    late = sum(turn["v2v_ms"] is None or turn["v2v_ms"] > 800 for turn in turns)
    caused = {"AntiphonTurnsFailFast": failed > 0.05 * len(turns), "AntiphonTurnsLateFast": late > 0.5 * len(turns)}
    firing = {one["metric"]["alertname"] for one in watched.at.query('ALERTS{alertstate="firing"}', watched.end)}
    assert not [one for one in firing if not caused.get(one)], (firing, failed, late, len(turns))


def counted(watched: Watched, phase: Phase, series: str, *labels: str) -> dict[tuple[str, ...], float]:
    """By how much a counter of the orchestrator's has grown in a phase, by its labels."""
    grown: dict[tuple[str, ...], float] = {}
    for at, sign in ((phase.end, 1), (phase.start, -1)):
        for one in watched.at.query(f"sum by ({', '.join(labels)}) ({series})", at):
            key = tuple(one["metric"][label] for label in labels)
            grown[key] = grown.get(key, 0.0) + sign * float(one["value"][1])
    return grown


def behind(watched: Watched, phase: Phase) -> float:
    """In which share of its checks the orchestrator found itself late: none, where it has the machine to itself."""
    checks = counted(watched, phase, "antiphon_event_loop_lag_seconds_bucket", "le")
    return 1 - checks[LATE_LE,] / checks["+Inf",]


def most(watched: Watched, phase: Phase) -> float:
    """The least share of turns that have to be answered."""
    return MOST - min(0.45, 2 * behind(watched, phase))


@pytest.mark.parametrize("transport", list(Transport))
def test_every_turn_was_answered_and_its_stages_tile_it(watched: Watched, transport: Transport) -> None:
    phase, rows = watched.phases[transport], watched.phases[transport].rows
    assert len(rows) == CALLS[transport] * TURNS
    good = [row for row in rows if row.v2v_ms is not None and row.server]
    assert len(good) >= most(watched, phase) * len(rows), [
        (row.outcome, row.error) for row in rows if row.v2v_ms is None
    ]
    for row in good:
        assert row.server
        stages = row.server["stages"]
        total = sum(stage["end_ms"] - stage["start_ms"] for stage in stages)
        assert total == pytest.approx(row.server["v2v_ms"], abs=5)
        assert all(one["end_ms"] == after["start_ms"] for one, after in pairwise(stages))


@pytest.mark.parametrize("transport", list(Transport))
def test_the_histogram_holds_the_very_turns_that_the_timelines_tell(watched: Watched, transport: Transport) -> None:
    """Every percentile of the histogram is therefore that of the timelines."""
    phase = watched.phases[transport]
    assert len(phase.sessions) == CALLS[transport]
    outcomes = Counter(turn["outcome"] for turn in phase.turns)
    assert counted(watched, phase, "antiphon_turns_total", "outcome") == {(one,): outcomes[one] for one in OUTCOMES}
    told_s = [(turn["outcome"], turn["v2v_ms"] / 1000) for turn in phase.turns if turn["v2v_ms"] is not None]
    assert len(told_s) >= most(watched, phase) * CALLS[transport] * TURNS
    buckets = counted(watched, phase, "antiphon_v2v_seconds_bucket", "outcome", "le")
    assert len(buckets) == len(OUTCOMES) * (len(LATENCY_BUCKETS) + 1)
    assert buckets == {
        (outcome, bound): sum(one == outcome and v2v_s <= float(bound) for one, v2v_s in told_s)
        for outcome, bound in buckets
    }
    sums = counted(watched, phase, "antiphon_v2v_seconds_sum", "outcome")
    for outcome in OUTCOMES:
        assert sums[outcome,] == pytest.approx(sum(v2v_s for one, v2v_s in told_s if one == outcome), abs=0.001)


def held_to_the_line(differences_ms: Sequence[float], line_ms: Sequence[float], late_ms: float) -> None:
    """Check that callers hear each turn later than the server reports, by the latency of the line.

    A busy machine delays turns and clicks, and never speeds them up: the fastest of both are compared within a fixed
    tolerance, the medians with extra room for the usual delay of the caller's own frames.
    """
    seen = sorted(map(round, differences_ms)), sorted(map(round, line_ms)), late_ms
    assert abs(min(differences_ms) - min(line_ms)) <= ROOM_MS + late_ms, seen
    assert abs(statistics.median(differences_ms) - statistics.median(line_ms)) <= ROOM_MS + 5 * late_ms, seen


@pytest.mark.parametrize("transport", list(Transport))
def test_what_is_heard_is_what_the_server_says_and_what_the_line_takes(watched: Watched, transport: Transport) -> None:
    phase = watched.phases[transport]
    differences = [
        row.v2v_ms - row.server["v2v_ms"]
        for row in phase.rows
        if row.v2v_ms is not None and row.server and row.server["v2v_ms"] is not None
    ]
    assert len(differences) >= most(watched, phase) * len(phase.rows)
    held_to_the_line(differences, phase.line_ms, statistics.median(row.late_ms for row in phase.rows))


def test_latencies_have_their_turns_traces_as_exemplars(watched: Watched) -> None:
    found = watched.at.exemplars("antiphon_v2v_seconds_bucket", watched.phases[Transport.WS].start, watched.end)
    traces = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
    known = {row.server["trace_id"] for phase in watched.phases.values() for row in phase.rows if row.server}
    assert traces & known


def test_the_labels_that_prometheus_has_are_those_that_are_documented(watched: Watched) -> None:
    from antiphon_cli.telemetry import labels, processes

    documented = {family.name: labels(family) for process in processes() for family in process.families}
    for name, told in documented.items():
        for label, values in told.items():
            allowed = set(re.findall(r"`([^`]+)`", values))
            suffixes = ("", "_total", "_count")
            seen = {
                series["metric"][label]
                for suffix in suffixes
                for series in watched.at.query(f"count by ({label}) ({name}{suffix})", watched.end)
                if label in series["metric"]
            }
            open_ended = "reason of the error" in values or "…" in values
            assert open_ended or seen <= allowed, (name, label, seen - allowed)


def test_the_canary_heard_what_the_server_says_of_its_calls(watched: Watched) -> None:
    (healthy,) = watched.at.query("antiphon_canary_healthy", watched.end)
    assert healthy["value"][1] == "1"
    (count,) = watched.at.query("antiphon_canary_v2v_seconds_count", watched.end)
    told_ms = [turn["v2v_ms"] for turn in watched.canary.turns]
    assert len(told_ms) == float(count["value"][1]) == CANARY_CALLS
    # Each call adds to the sum, and some scrape saw it before the next one did.
    sums = watched.at.values("antiphon_canary_v2v_seconds_sum", watched.canary.start, watched.end)
    (last,) = watched.at.query("antiphon_canary_v2v_seconds_sum", watched.end)
    heard_ms = [(after - before) * 1000 for before, after in pairwise(sorted({0.0, *sums, float(last["value"][1])}))]
    assert len(heard_ms) == CANARY_CALLS
    differences = [heard - told for heard, told in zip(heard_ms, told_ms, strict=True)]
    held_to_the_line(differences, watched.canary.line_ms, behind(watched, watched.canary) * 1000)


def test_the_latency_board_is_drawn_from_live_data(watched: Watched) -> None:
    """The README's image is this one, copied by `make board-image`."""
    path, start = IMAGE, watched.phases[Transport.WS].start
    path.unlink(missing_ok=True)
    draw(json.loads((BOARDS / "latency.json").read_text()), watched.at, filled, start, watched.end, path)
    assert path.stat().st_size > 50_000
