"""A live platform under load, scraped by a real Prometheus: calls of which everything is known."""

import asyncio
import json
import re
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from echoes import line_ms
from platform_fixture import until
from prometheus_client import CollectorRegistry, Gauge
from real_prometheus import Prometheus, scraping

from antiphon_asr.backends.nemo.metrics import EngineMetrics as AsrEngine
from antiphon_bench import questions
from antiphon_bench.load.plan import Arrivals, Manner, Plan, Transport
from antiphon_bench.load.rows import TurnRow
from antiphon_bench.load.run import load
from antiphon_cli.platform import Plan as Platform
from antiphon_cli.platform import free_ports
from antiphon_cli.supervisor import running
from antiphon_runtime.metrics import metrics_endpoint
from antiphon_tts.backends.magpie.metrics import EngineMetrics as TtsEngine

NAMES = ("asr", "tts", "llm", "turn", "orchestrator")
JOBS = (*(f"antiphon-{name}" for name in NAMES), "stand-ins")
# Two callers at a time, and one and a half: a busy machine carries them in real time.
CALLS, TURNS, OVER_S = {Transport.WS: 8, Transport.WEBRTC: 4}, 3, 50.0
CANARY_CALLS, CANARY_EVERY_S = 4, 12
# The first two are the clerk's, whose tool is called; the agent by default comes later, after its examples.
ANSWERS = ("tool:get_time", "It is noon in the city, and the bookshop is open until six.", *["You asked: {last}"] * 4)


@dataclass(frozen=True)
class Phase:
    """A time in which known calls were all there were: what their callers noted, and what the server tells of each.

    `line_ms` are the times that the line takes by itself, just before.
    """

    start: float
    end: float
    sessions: Sequence[dict[str, Any]]
    line_ms: Sequence[float]
    rows: tuple[TurnRow, ...] = ()

    @property
    def turns(self) -> list[dict[str, Any]]:
        return [turn for session in self.sessions for turn in session["turns"]]


@dataclass(frozen=True)
class Watched:
    at: Prometheus
    phases: dict[Transport, Phase]
    canary: Phase
    end: float


@dataclass
class Calls:
    """The sessions that the orchestrator's log tells of."""

    page: str
    begun: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)

    def __call__(self, name: str, line: str) -> None:
        if name == "orchestrator" and (found := re.search(r"session (\w+) (begins|ends)", line)):
            if found[2] == "begins":
                self.begun.append(found[1])
            else:
                self.ended.add(found[1])

    async def timelines(self, since: int) -> list[dict[str, Any]]:
        """Those that began after the first `since`, once they have all ended."""
        await until(lambda: len(self.begun) > since and self.ended.issuperset(self.begun), timeout_s=120)
        return [await asyncio.to_thread(self._timeline, name) for name in self.begun[since:]]

    def _timeline(self, session_id: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.page}/api/sessions/{session_id}", timeout=60) as answer:
            return dict(json.load(answer))


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
async def canary(url: str, port: int) -> AsyncIterator[asyncio.StreamReader]:
    """The canary's command, and what it logs."""
    command = [sys.executable, "-m", "antiphon_cli", "canary", "--url", url, "--every", str(CANARY_EVERY_S)]
    process = await asyncio.create_subprocess_exec(
        *command, "--metrics-bind", f"127.0.0.1:{port}", stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr
        yield process.stderr
    finally:
        process.terminate()
        await process.communicate()


async def called(log: asyncio.StreamReader) -> None:
    """Returns when the canary has ended its calls and waits for the time of the next one."""
    for _ in range(CANARY_CALLS):
        async with asyncio.timeout(120):
            while b"a call was" not in (line := await log.readline()):
                assert line, "the canary ended"


async def loaded(at: Prometheus, calls: Calls, plan: Plan) -> Phase:
    line = await line_ms(plan.transport)
    start, before = await at.scraped(*JOBS), len(calls.begun)
    load_ = await asyncio.to_thread(load, plan, 1)
    sessions = await calls.timelines(before)
    return Phase(start, await at.scraped(*JOBS), sessions, line, load_.rows)


async def watch(folder: Path) -> AsyncIterator[Watched]:
    said = "|".join(path.with_suffix(".txt").read_text().strip() for path in questions())
    metrics = {name: free_port() for name in (*NAMES, "canary")}
    env = {f"ANTIPHON_{name.upper()}_METRICS_BIND": f"127.0.0.1:{metrics[name]}" for name in NAMES}
    env |= {f"ANTIPHON_{name}_STUB__PROFILE": "rtx5090" for name in ("ASR", "TTS", "LLM")}
    env |= {"ANTIPHON_ASR_STUB__SCRIPT": said, "ANTIPHON_LLM_STUB__SCRIPT": "|".join(ANSWERS)}
    env |= {"ANTIPHON_ORCHESTRATOR_MAX_SESSIONS": "16"}
    platform = Platform(models="stub", ports=free_ports(), metrics=False, env=env)
    calls = Calls(platform.page)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(platform, calls))
        targets = {f"antiphon-{name}": f"127.0.0.1:{port}" for name, port in metrics.items()}
        targets["stand-ins"] = await stack.enter_async_context(stand_ins())
        at = await stack.enter_async_context(scraping(targets, free_port(), folder))
        plans = [
            Plan(platform.call_url, count, questions(), TURNS, Arrivals.CONSTANT, OVER_S, transport)
            for transport, count in CALLS.items()
        ]
        phases = {plan.transport: await loaded(at, calls, plan) for plan in plans}
        # So that tools, and callers who break in, are seen too.
        busy = Plan(platform.call_url, 2, questions(), 2, agent="clerk", manner=Manner(barge_in_share=1.0))
        await asyncio.to_thread(load, busy, 1)
        line = await line_ms(Transport.WS)
        start, before = await at.scraped(*JOBS), len(calls.begun)
        await calls.timelines(0)
        log = await stack.enter_async_context(canary(platform.call_url, metrics["canary"]))
        await called(log)
        sessions = await calls.timelines(before)
        end = await at.scraped(*JOBS, "antiphon-canary")
        yield Watched(at, phases, Phase(start, end, sessions, line), end)
