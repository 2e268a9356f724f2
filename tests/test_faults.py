"""Processes that are killed, and people who press Ctrl-C: real processes, on stubs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from raw_caller import dialled, silence

from antiphon_bench import questions
from antiphon_bench.call import Call
from antiphon_bench.caller import place_call
from antiphon_bench.errors import CallError
from antiphon_bench.wav import load_call_audio
from antiphon_cli.platform import PORTS, Plan, free_ports
from antiphon_cli.supervisor import running

pytestmark = pytest.mark.slow
# The stub writes its first answer for a second or so, so that its process can die while it writes.
SLOW = {
    "ANTIPHON_LLM_STUB__SCRIPT": f"{'I ' * 40}|Yes.",
    "ANTIPHON_LLM_STUB__PROFILE": "dgx-spark",
}
# The stub's answer lasts for about a second and a half, so that a service can die in the middle of it.
LONG = {"ANTIPHON_LLM_STUB__SCRIPT": "This answer takes a good while to be spoken to its end"}


class Log:
    """What the platform says, and who waits for a part of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._grew = asyncio.Event()

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")
        self._grew.set()

    async def until(self, condition: Callable[[str], bool], count: int = 1, timeout_s: float = 30.0) -> None:
        async with asyncio.timeout(timeout_s):
            while sum(map(condition, self.lines)) < count:
                self._grew.clear()
                await self._grew.wait()


async def call(plan: Plan, hello: Path) -> Call:
    return await place_call(plan.call_url, [hello], timeout_s=8)


@pytest.mark.parametrize("victim", ["asr", "tts", "llm", "turn"])
async def test_a_service_killed_between_turns_is_started_again_and_the_next_call_is_answered(
    victim: str, hello: Path
) -> None:
    log = Log()
    plan = Plan(models="stub", ports=free_ports(), metrics=False)
    async with running(plan, log) as pids:
        assert (await call(plan, hello)).turns[0].outcome == "answered"
        os.kill(pids[victim], signal.SIGKILL)
        await log.until(lambda line: line.startswith(f"{victim}: ready after"), count=2)
        assert (await call(plan, hello)).turns[0].outcome == "answered"


@pytest.mark.parametrize("moment", ["while the caller speaks", "while the agent answers"])
@pytest.mark.parametrize("victim", ["asr", "tts", "llm", "turn"])
async def test_a_service_killed_in_mid_turn_costs_at_most_that_turn(victim: str, moment: str) -> None:
    log = Log()
    plan = Plan(models="stub", ports=free_ports(), metrics=False, env=SLOW)
    # A voice, because without the turn service the orchestrator's own models must hear it.
    question = load_call_audio(questions()[0]).tobytes()
    async with running(plan, log) as pids, dialled(plan.call_url) as caller:
        await caller.until_session()
        if moment == "while the caller speaks":
            await caller.say(question[: len(question) // 4 * 2])
            os.kill(pids[victim], signal.SIGKILL)
            await caller.say(question[len(question) // 4 * 2 :])
        else:
            await caller.say(question + silence(0.3))
            await caller.until_audio()
            os.kill(pids[victim], signal.SIGKILL)
        turn = await caller.report()
        assert (turn["turn_id"], turn["outcome"]) in ((1, "answered"), (1, "failed")), turn
        if turn["outcome"] == "failed":
            # Only what was at work on the answer may lose it.
            assert victim in ("llm", "tts") and moment == "while the agent answers"
            assert victim in turn["error"]
        await log.until(lambda line: line.startswith(f"{victim}: ready after"), count=2)
        assert (await caller.turn(question))["outcome"] == "answered"


async def test_a_killed_orchestrator_drops_the_call_and_takes_the_next_one(hello: Path) -> None:
    log = Log()
    plan = Plan(models="stub", ports=free_ports(), metrics=False, env=LONG)
    async with running(plan, log) as pids:
        calling = asyncio.create_task(call(plan, hello))
        await log.until(lambda line: "session" in line and "begins" in line)
        os.kill(pids["orchestrator"], signal.SIGKILL)
        with pytest.raises(CallError):
            await calling
        await log.until(lambda line: line.startswith("orchestrator: ready after"), count=2)
        assert (await call(plan, hello)).turns[0].outcome == "answered"


def family(group: int) -> list[int]:
    """Every live process whose environment says that it belongs to this test's command."""
    mark = f"ANTIPHON_TEST_FAMILY={group}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def up(tmp_path: Path, *words: str) -> tuple[subprocess.Popen[bytes], int, Path]:
    """`antiphon` as a terminal starts it, a mark that its whole family inherits, and where it prints."""
    mark = time.monotonic_ns()
    printed = tmp_path / "printed"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    environment |= {f"ANTIPHON_{name.upper()}_BIND": f"127.0.0.1:{port}" for name, port in free_ports().items()}
    environment |= {f"ANTIPHON_{name.upper()}_METRICS_BIND": "" for name in PORTS}
    with printed.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "antiphon_cli", *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**environment, "PYTHONUNBUFFERED": "1", "COLUMNS": "100", "ANTIPHON_TEST_FAMILY": str(mark)},
        )
    return child, mark, printed


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.1, 0.6, 1.2, 2.5, 5.0])
def test_ctrl_c_at_any_moment_leaves_no_process_behind(signum: int, after_s: float, tmp_path: Path) -> None:
    child, mark, printed = up(tmp_path, "up", "--models", "stub")
    time.sleep(after_s)  # the moment is what is tested
    child.send_signal(signum)
    child.wait(15)
    assert family(mark) == [], printed.read_text()


def test_a_platform_that_was_ready_stops_cleanly(tmp_path: Path) -> None:
    child, mark, printed = up(tmp_path, "up", "--models", "stub")
    deadline = time.monotonic() + 30
    while "Antiphon is ready" not in printed.read_text():
        assert time.monotonic() < deadline, printed.read_text()
        time.sleep(0.1)
    assert len(family(mark)) == 1 + len(PORTS)
    child.send_signal(signal.SIGINT)
    assert child.wait(15) == 0
    assert "All processes have ended." in printed.read_text()
    assert family(mark) == []


def test_ctrl_c_ends_a_demo_too(tmp_path: Path) -> None:
    child, mark, printed = up(tmp_path, "demo", "--output", str(tmp_path))
    time.sleep(3.0)
    child.send_signal(signal.SIGINT)
    assert child.wait(15) != 0
    assert family(mark) == [], printed.read_text()
