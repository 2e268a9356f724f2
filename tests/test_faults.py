"""Processes that are killed, and people who press Ctrl-C: real processes, on stubs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from raw_caller import dialled, silence, speech

from antiphon_bench import questions
from antiphon_bench.call import Call
from antiphon_bench.caller import place_call
from antiphon_bench.errors import CallError
from antiphon_bench.wav import load_call_audio
from antiphon_cli.platform import PORTS, Plan, free_ports
from antiphon_cli.supervisor import running

pytestmark = pytest.mark.slow
# On a machine that is busy, a caller's audio may stall.
ANSWERED = ("answered", "stalled")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SERVICES = ("asr", "tts", "llm", "turn")
# By then even a busy machine has done whatever a test waits for.
LONGEST_S = 90.0
# The stub begins its first answer soon and ends it two seconds later, with little to be spoken in between.
SLOW = {
    "ANTIPHON_LLM_STUB__SCRIPT": f"{'I ' * 12}{'... ' * 80}I|Yes.",
    "ANTIPHON_LLM_STUB__PROFILE": "dgx-spark",
}
# The stub's answer lasts for about a second and a half, so that a service can die in the middle of it.
LONG = {"ANTIPHON_LLM_STUB__SCRIPT": "This answer takes a good while to be spoken to its end"}


class Log:
    """Output of the platform, with a way to wait for a part of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._grew = asyncio.Event()

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")
        self._grew.set()

    async def until(self, condition: Callable[[str], bool], count: int = 1, timeout_s: float = LONGEST_S) -> None:
        async with asyncio.timeout(timeout_s):
            while sum(map(condition, self.lines)) < count:
                self._grew.clear()
                await self._grew.wait()


async def call(plan: Plan, hello: Path) -> Call:
    return await place_call(plan.call_url, [hello], timeout_s=60)


async def started_again(log: Log, victim: str) -> None:
    await log.until(lambda line: line.startswith(f"{victim}: ready after"), count=2)


async def test_a_service_killed_between_calls_is_started_again_and_the_next_call_is_answered(hello: Path) -> None:
    log = Log()
    plan = Plan(models="stub", ports=free_ports(), metrics=False)
    async with running(plan, log) as pids:
        for victim in SERVICES:
            os.kill(pids[victim], signal.SIGKILL)
            await started_again(log, victim)
            async with dialled(plan.call_url) as caller:
                await caller.until_session()
                assert (await caller.turn())["outcome"] == "answered", victim


@pytest.mark.parametrize(
    ("moment", "manner"),
    [("while the caller speaks", {}), ("while the agent answers", SLOW)],
    ids=["speaking", "answering"],
)
async def test_a_service_killed_in_mid_turn_costs_at_most_that_turn(
    moment: str, manner: dict[str, str], tmp_path: Path
) -> None:
    log = Log()
    # An agent without examples: they count as turns of the stub's script.
    agents = tmp_path / "agents.yaml"
    agents.write_text("default: ava\nagents: {ava: {system_prompt: You are Ava.}}\n")
    plan = Plan(models="stub", ports=free_ports(), metrics=False, agents_file=agents, env=manner)
    # A voice, because without the turn service the orchestrator's own models must hear it.
    question = load_call_audio(questions()[0]).tobytes()
    half = len(question) // 4 * 2
    async with running(plan, log) as pids:
        for victim in SERVICES:
            async with dialled(plan.call_url) as caller:
                await caller.until_session()
                if moment == "while the caller speaks":
                    await caller.say(question[:half])
                    os.kill(pids[victim], signal.SIGKILL)
                    await caller.say(question[half:])
                else:
                    await caller.say(question + silence(0.3))
                    await caller.until_audio()
                    os.kill(pids[victim], signal.SIGKILL)
                turn = await caller.report()
                # Only what was at work on the answer loses it.
                lost = victim in ("llm", "tts") and moment == "while the agent answers"
                outcomes = ("failed",) if lost else ANSWERED
                assert turn["turn_id"] == 1 and turn["outcome"] in outcomes, f"{victim} {turn}"
                assert turn["error"].startswith(f"{victim}: " if lost else ""), turn
                await started_again(log, victim)
                assert (await caller.turn(question))["outcome"] in ANSWERED, victim


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


@dataclass(frozen=True)
class Command:
    """`antiphon` as a terminal starts it."""

    child: "subprocess.Popen[bytes]"
    mark: int
    printed: Path
    call_url: str

    def family(self) -> list[int]:
        return family(self.mark)

    def until(self, text: str) -> None:
        """Returns as soon as the command has printed this."""
        deadline = time.monotonic() + LONGEST_S
        while text not in self.printed.read_text():
            assert self.child.poll() is None and time.monotonic() < deadline, self.printed.read_text()
            time.sleep(0.01)

    def until_ready(self) -> None:
        self.until("Antiphon is ready")

    def ends(self, signum: int) -> int:
        """Sends the signal and gives the exit code."""
        self.child.send_signal(signum)
        return self.child.wait(LONGEST_S)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts `antiphon` with these words, on ports of its own. Whatever a failed test leaves running is killed."""
    started: list[Command] = []

    def start(*words: str) -> Command:
        mark, ports, printed = time.monotonic_ns(), free_ports(), tmp_path / "printed"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
        environment |= {f"ANTIPHON_{name.upper()}_BIND": f"127.0.0.1:{port}" for name, port in ports.items()}
        environment |= {f"ANTIPHON_{name.upper()}_METRICS_BIND": "" for name in PORTS}
        environment |= {"PYTHONUNBUFFERED": "1", "COLUMNS": "100", "ANTIPHON_TEST_FAMILY": str(mark)}
        with printed.open("wb") as out:
            # Each module is told of as soon as it is imported, so that a test knows how far the command has come.
            python = [sys.executable, "-X", "importtime"]
            child = subprocess.Popen(
                [*python, "-m", "antiphon_cli", *words], stdout=out, stderr=subprocess.STDOUT, env=environment
            )
        started.append(Command(child, mark, printed, f"ws://127.0.0.1:{ports['orchestrator']}/ws"))
        return started[-1]

    yield start
    for one in started:
        for pid in one.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        one.child.wait()


# A module early and one late in what is imported; then the command starts its children, and they are there.
MOMENTS = (" loguru\n", " antiphon_cli.command\n", "ready after", "Antiphon is ready")


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS, ids=str.strip)
def test_ctrl_c_at_any_moment_leaves_no_process_behind(
    signum: int, moment: str, command: Callable[..., Command]
) -> None:
    up = command("up", "--models", "stub")
    up.until(moment)
    # Before it starts anything Ctrl-C ends it as shells say it, and SIGTERM by itself; after that it stops in order.
    assert up.ends(signum) in (0, 130 if signum == signal.SIGINT else -signum), up.printed.read_text()
    assert up.family() == []
    assert "Traceback" not in up.printed.read_text()


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_platform_that_was_ready_stops_cleanly(signum: int, command: Callable[..., Command]) -> None:
    up = command("up", "--models", "stub")
    up.until_ready()
    assert len(up.family()) == 1 + len(PORTS)
    assert up.ends(signum) == 0
    assert up.family() == []
    assert up.printed.read_text().endswith("All processes have ended.\n")
    assert "Traceback" not in up.printed.read_text()


async def test_ctrl_c_during_a_call_hangs_up_and_stops_cleanly(command: Callable[..., Command]) -> None:
    up = command("up", "--models", "stub")
    await asyncio.to_thread(up.until_ready)
    async with dialled(up.call_url) as caller:
        await caller.until_session()
        await caller.say(speech() + silence(0.3))
        await caller.until_audio()
        ending = asyncio.create_task(asyncio.to_thread(up.ends, signal.SIGINT))
        await caller.hung_up_on()
        assert await ending == 0
    assert up.family() == []
    assert "Traceback" not in up.printed.read_text()


@pytest.mark.real
@pytest.mark.parametrize(
    ("signum", "moment"),
    [(signal.SIGINT, " antiphon_cli.command\n"), (signal.SIGTERM, "ready after")],
    ids=lambda one: str(one).strip(),
)
def test_ctrl_c_ends_a_demo_too(signum: int, moment: str, tmp_path: Path, command: Callable[..., Command]) -> None:
    demo = command("demo", "--output", str(tmp_path))
    demo.until(moment)
    assert demo.ends(signum) == 130
    assert demo.family() == []
    assert "antiphon: interrupted" in demo.printed.read_text() and "Traceback" not in demo.printed.read_text()
