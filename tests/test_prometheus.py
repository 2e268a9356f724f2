"""A real Prometheus over a live platform under load: its boards, its alerts and its latencies are true."""

import asyncio
import json
import re
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from board_image import draw
from echoes import line_ms
from prometheus_client import CollectorRegistry, Gauge
from real_prometheus import RULES, Prometheus, needs_prometheus, scraping

from antiphon_asr.backends.nemo.metrics import EngineMetrics as AsrEngine
from antiphon_bench import questions
from antiphon_bench.load.plan import Arrivals, Manner, Plan, Transport
from antiphon_bench.load.rows import TurnRow
from antiphon_bench.load.run import load
from antiphon_bench.stats import ranked_at
from antiphon_cli.platform import Plan as Platform
from antiphon_cli.platform import free_ports
from antiphon_cli.supervisor import running
from antiphon_runtime.metrics import LATENCY_BUCKETS, metrics_endpoint
from antiphon_tts.backends.magpie.metrics import EngineMetrics as TtsEngine

pytestmark = [pytest.mark.slow, pytest.mark.alone, needs_prometheus, pytest.mark.timeout(400)]

IMAGE = Path(__file__).parents[1] / "out/boards/latency.png"
BOARDS = RULES.parent / "grafana/dashboards"
NAMES = ("asr", "tts", "llm", "turn", "orchestrator")
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "30s", "$__range": "3m", "$instance": ".*", "$stage": "llm"}
CALLS, TURNS, OVER_S = {Transport.WS: 20, Transport.WEBRTC: 8}, 3, 60.0
# The first two are the clerk's, whose tool is called; the agent by default comes later, after its examples.
ANSWERS = ("tool:get_time", "It is noon in the city, and the bookshop is open until six.", *["You asked: {last}"] * 4)


@dataclass(frozen=True)
class Phase:
    """A load over one transport: its turns, when it was, and what the line takes by itself."""

    rows: tuple[TurnRow, ...]
    start: float
    end: float
    line_ms: float


@dataclass(frozen=True)
class Watched:
    at: Prometheus
    phases: dict[Transport, Phase]
    end: float


@asynccontextmanager
async def stand_ins() -> AsyncIterator[str]:
    """The series of what cannot run here: batched engines and vLLM by our own metrics' names, GPUs by DCGM's."""
    registry = CollectorRegistry()
    asr, tts = AsrEngine.register(registry, lambda: 0.2), TtsEngine.register(registry)
    asr.real_time_factor.labels("cpu").set(0.1)
    tts.real_time_factor.set(0.3)
    for name in ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"):
        Gauge(name, name, ["gpu"], registry=registry).labels("0").set(40)
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
        Gauge(name, name, registry=registry).set(1)

    async def work() -> None:
        while True:
            asr.step_seconds.labels("160", "live").observe(0.02)
            asr.batch_size.labels("160", "live").observe(3)
            asr.queue_wait.labels("live").observe(0.01)
            tts.step_seconds.labels("step").observe(0.03)
            tts.batch_size.labels("step").observe(2)
            await asyncio.sleep(0.5)

    working = asyncio.create_task(work())
    with metrics_endpoint("127.0.0.1:0", registry) as port:
        yield f"127.0.0.1:{port}"
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@asynccontextmanager
async def canary(url: str, port: int) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "antiphon_cli", "canary", "--url", url, "--every", "8"]
    process = await asyncio.create_subprocess_exec(
        *command, "--metrics-bind", f"127.0.0.1:{port}", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def watch(folder: Path) -> AsyncIterator[Watched]:
    said = "|".join(path.with_suffix(".txt").read_text().strip() for path in questions())
    metrics = {name: free_port() for name in NAMES}
    env = {f"ANTIPHON_{name.upper()}_METRICS_BIND": f"127.0.0.1:{port}" for name, port in metrics.items()}
    env |= {f"ANTIPHON_{name}_STUB__PROFILE": "rtx5090" for name in ("ASR", "TTS", "LLM")}
    env |= {"ANTIPHON_ASR_STUB__SCRIPT": said, "ANTIPHON_LLM_STUB__SCRIPT": "|".join(ANSWERS)}
    env |= {"ANTIPHON_ORCHESTRATOR_MAX_SESSIONS": "16"}
    platform = Platform(models="stub", ports=free_ports(), metrics=False, env=env)
    lines = {transport: await line_ms(transport) for transport in Transport}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(platform, lambda _name, _line: None))
        canary_port = free_port()
        await stack.enter_async_context(canary(platform.call_url, canary_port))
        targets = {f"antiphon-{name}": f"127.0.0.1:{port}" for name, port in metrics.items()}
        targets["antiphon-canary"] = f"127.0.0.1:{canary_port}"
        targets["stand-ins"] = await stack.enter_async_context(stand_ins())
        at = await stack.enter_async_context(scraping(targets, free_port(), folder))
        phases = {}
        for transport, calls in CALLS.items():
            plan = Plan(platform.call_url, calls, questions(), TURNS, Arrivals.CONSTANT, OVER_S, transport)
            await asyncio.sleep(2.5)  # two scrapes before, and after
            start = time.time()
            loaded = await asyncio.to_thread(load, plan, 1)
            await asyncio.sleep(2.5)
            phases[transport] = Phase(loaded.rows, start, time.time(), lines[transport])
        # So that tools, and callers who break in, are seen too.
        busy = Plan(platform.call_url, 2, questions(), 2, agent="clerk", manner=Manner(barge_in_share=1.0))
        await asyncio.to_thread(load, busy, 1)
        await asyncio.sleep(2.5)
        yield Watched(at, phases, time.time())


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


def test_no_alert_fires_on_a_healthy_platform(watched: Watched) -> None:
    firing = watched.at.query('ALERTS{alertstate="firing"}', watched.end)
    assert not firing, firing


@pytest.mark.parametrize("transport", list(Transport))
def test_every_turn_was_answered_and_its_stages_tile_it(watched: Watched, transport: Transport) -> None:
    rows = watched.phases[transport].rows
    assert len(rows) == CALLS[transport] * TURNS
    good = [row for row in rows if row.v2v_ms is not None and row.server]
    assert len(good) >= 0.95 * len(rows), [(row.outcome, row.error) for row in rows if row.v2v_ms is None]
    for row in good:
        assert row.server
        stages = row.server["stages"]
        total = sum(stage["end_ms"] - stage["start_ms"] for stage in stages)
        assert total == pytest.approx(row.server["v2v_ms"], abs=5)
        assert all(one["end_ms"] == after["start_ms"] for one, after in pairwise(stages))


def quantile_of_the_histogram(watched: Watched, phase: Phase, share: float) -> tuple[float, float]:
    """The bucket that holds the percentile of the phase's turns, in ms."""
    counts: dict[float, float] = {}
    for at, sign in ((phase.end, 1), (phase.start, -1)):
        for series in watched.at.query('sum by (le) (antiphon_v2v_seconds_bucket{outcome="answered"})', at):
            bound = float(series["metric"]["le"])
            counts[bound] = counts.get(bound, 0) + sign * float(series["value"][1])
    rank = share * counts[float("inf")]
    lower = 0.0
    for bound in sorted(counts):
        if counts[bound] >= rank:
            return lower * 1000, bound * 1000
        lower = bound
    raise AssertionError("no turn was counted")


def next_to(bucket: tuple[float, float]) -> tuple[float, float]:
    """The bucket and its neighbours."""
    bounds = [0.0, *(1000 * bound for bound in LATENCY_BUCKETS)]
    at = bounds.index(pytest.approx(bucket[0]))
    return bounds[max(0, at - 1)], bounds[min(len(bounds) - 1, at + 2)]


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("transport", list(Transport))
def test_the_histograms_percentiles_are_the_callers_less_their_line(
    watched: Watched, transport: Transport, share: float
) -> None:
    phase = watched.phases[transport]
    heard_ms = ranked_at([row.v2v_ms for row in phase.rows if row.v2v_ms is not None], share)
    assert heard_ms is not None
    low, high = next_to(quantile_of_the_histogram(watched, phase, share))
    assert low <= heard_ms - phase.line_ms <= high


@pytest.mark.parametrize("transport", list(Transport))
def test_what_is_heard_is_what_the_server_says_and_what_the_line_takes(watched: Watched, transport: Transport) -> None:
    phase = watched.phases[transport]
    differences = [
        row.v2v_ms - phase.line_ms - row.server["v2v_ms"]
        for row in phase.rows
        if row.v2v_ms is not None and row.server and row.server["v2v_ms"] is not None
    ]
    assert abs(statistics.median(differences)) <= 40, statistics.quantiles(differences, n=10)


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


def test_the_canary_heard_what_callers_hear(watched: Watched) -> None:
    (healthy,) = watched.at.query("antiphon_canary_healthy", watched.end)
    assert healthy["value"][1] == "1"
    (count,) = watched.at.query("antiphon_canary_v2v_seconds_count", watched.end)
    assert float(count["value"][1]) >= 3
    # By the waveforms of its recordings, which have a tick of 20 ms.
    (mean,) = watched.at.query("antiphon_canary_v2v_seconds_sum / antiphon_canary_v2v_seconds_count", watched.end)
    phase = watched.phases[Transport.WS]
    told_ms = statistics.median(row.server["v2v_ms"] for row in phase.rows if row.server and row.v2v_ms is not None)
    assert float(mean["value"][1]) * 1000 - phase.line_ms == pytest.approx(told_ms, abs=40)


def test_the_latency_board_is_drawn_from_live_data(watched: Watched) -> None:
    """The README's image is this one, copied by `make board-image`."""
    path, start = IMAGE, watched.phases[Transport.WS].start
    path.unlink(missing_ok=True)
    draw(json.loads((BOARDS / "latency.json").read_text()), watched.at, filled, start, watched.end, path)
    assert path.stat().st_size > 50_000
