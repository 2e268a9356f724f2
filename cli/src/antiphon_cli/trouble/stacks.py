"""The processes of a stack, from this checkout or another, and the places in which cases run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from antiphon_bench.trouble.case import Case, Place, Side, Stack, Trial, Voice
from antiphon_bench.trouble.hiccups import Proxy
from antiphon_bench.trouble.model import ModelServer

from ..platform import Plan, Process, free_ports
from ..supervisor import Died, supervised
from .voices import RealVoice, StubVoice

PREFIX = "ANTIPHON_ORCHESTRATOR_"
WRAPPER = Path(__file__).with_name("product")
SERVICES = ("asr", "tts", "llm", "turn")
HEARD = "the first question|the second question|the third question|the fourth question"
SLOTS = "64"
MAX_SESSIONS = "32"
# An orchestrator that is to refuse to start does it by then.
REFUSES_S = 15.0
AGENT = {"max_token_count": 200, "llm_calls_per_turn": 1}


@dataclass(frozen=True, slots=True)
class Product:
    """The checkout that is measured: its Python, and the settings and agent fields that it knows."""

    python: str
    settings: frozenset[str]
    agent: frozenset[str]

    @classmethod
    def of(cls, folder: Path | None) -> "Product":
        """This checkout, or the one at `folder`, which has a virtual environment of its own."""
        python = str(folder / ".venv" / "bin" / "python") if folder else sys.executable
        program = (
            "import json; from antiphon_orchestrator import agents, settings; "
            "print(json.dumps([list(settings.Settings.model_fields), list(agents.Agent.model_fields)]))"
        )
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, timeout=60)
        settings, agent = json.loads(done.stdout.splitlines()[-1])
        return cls(python, frozenset(settings), frozenset(agent))

    def write_agents(self, path: Path, cases: Sequence[Case]) -> None:
        """A file with an agent of each case's name, without the fields that this version does not know."""
        agents = {
            case.name: {
                "system_prompt": f"Answer in one short spoken sentence. [{case.name}]",
                **{name: value for name, value in {**AGENT, **case.agent}.items() if name in self.agent},
            }
            for case in cases
        }
        path.write_text(yaml.safe_dump({"default": cases[0].name, "agents": agents}))

    def known(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The settings that this version knows, as environment variables."""
        return {PREFIX + name: value for name, value in settings.items() if name.lower() in self.settings}


@dataclass
class Spot:
    """A place for cases: an orchestrator, shared or of a case's own."""

    page: str
    model: ModelServer
    voice: Voice
    recordings: Path
    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    process: Process | None = None
    pid: int = 0

    async def kill(self) -> None:
        """SIGKILL to the orchestrator, which is started again."""
        os.kill(self.pid, signal.SIGKILL)

    async def refusal(self, settings: Mapping[str, str]) -> str | None:
        """The words with which another orchestrator refuses to start with these settings; None when it starts."""
        if self.process is None:
            raise ValueError("this place has no orchestrator to be started again")
        said: list[str] = []
        port = free_ports()["orchestrator"]
        own = {PREFIX + name: value for name, value in settings.items()} | {f"{PREFIX}BIND": f"127.0.0.1:{port}"}
        process = replace(self.process, bind=f"127.0.0.1:{port}", env={**self.process.env, **own})
        with suppress(Died):
            async with supervised([process], lambda _, line: said.append(line), REFUSES_S):
                return None
        return "\n".join(said)[-500:]


class Started:
    """A stack that runs: the services, an orchestrator for most cases, and those that cases have of their own."""

    def __init__(self, product: Product, plan: Plan, spots: Mapping[Side, Spot], folder: Path, say: Any) -> None:
        self._product = product
        self._plan = plan
        self._spots = spots
        self._folder = folder
        self._say = say

    @asynccontextmanager
    async def place(self, case: Case, side: Side) -> AsyncIterator[Place]:
        """The place in which the case runs on a side."""
        if not case.is_private:
            yield self._spots[side]
            return
        async with self.own(case) as spot:
            yield spot

    def lane(self, number: int) -> AbstractAsyncContextManager[Place]:
        """An orchestrator of its own for a row of calls."""
        return self.own(Case(f"lane_{number}", "-", "-", "random", "", _nothing))

    @asynccontextmanager
    async def own(self, case: Case) -> AsyncIterator[Spot]:
        """An orchestrator of the case's own, which reaches the services through proxies."""
        shared = self._spots[Side.OURS]
        folder = self._folder / case.name
        folder.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            proxies = {
                name: await stack.enter_async_context(Proxy(self._plan.bind(name)).serving()) for name in SERVICES
            }
            recordings = folder / "recordings"
            settings = {name: value.format(recordings=recordings) for name, value in case.settings.items()}
            env = {
                **{PREFIX + name.upper(): proxy.bind for name, proxy in proxies.items()},
                **self._product.known(settings),
                **case.environment,
            }
            process = orchestrator(self._product, self._plan, env)
            pids = await stack.enter_async_context(supervised([process], self._say))
            yield Spot(
                f"http://{process.bind}", shared.model, shared.voice, recordings, proxies, process, pids["orchestrator"]
            )


@asynccontextmanager
async def started(
    product: Product, stack: Stack, cases: Sequence[Case], model: tuple[ModelServer, str], folder: Path, say: Any
) -> AsyncIterator[Started]:
    """The stack, ready. `model` is the scripted server with its URL; `folder` takes the files of this run."""
    server, url = model
    agents = folder / f"agents-{stack.value}.yaml"
    product.write_agents(agents, cases)
    plan = Plan(
        models="cpu" if stack is Stack.REAL else "stub",
        ports=free_ports(),
        metrics=False,
        agents_file=agents,
        env=_env(stack, url),
    )
    voice: Voice = RealVoice(plan.bind("tts")) if stack is Stack.REAL else StubVoice()
    services = [replace(one, python=product.python) for one in plan.processes()[:-1]]
    ours = orchestrator(product, plan, {})
    fronts = {Side.OURS: ours}
    if any(case.plain for case in cases):
        fronts[Side.PLAIN] = replace(
            orchestrator(product, plan, {}), name="plain", module="antiphon_cli.conversation.plain_bot"
        )
    async with supervised([*services, *fronts.values()], say) as pids:
        spots = {
            side: Spot(f"http://{front.bind}", server, voice, folder / "recordings", {}, front, pids[front.name])
            for side, front in fronts.items()
        }
        yield Started(product, plan, spots, folder, say)


def orchestrator(product: Product, plan: Plan, env: Mapping[str, str]) -> Process:
    """An orchestrator with the cases' tools, on a port of its own."""
    own = replace(plan, ports={**plan.ports, "orchestrator": free_ports()["orchestrator"]})
    *_, process = own.processes()
    path = os.pathsep.join(filter(None, (str(WRAPPER), os.environ.get("PYTHONPATH", ""))))
    more = {f"{PREFIX}MAX_SESSIONS": MAX_SESSIONS, f"{PREFIX}LOG_TEXT": "true", "PYTHONPATH": path, **env}
    return replace(process, module="trouble_orchestrator", python=product.python, env={**process.env, **more})


async def _nothing(_: Trial) -> None:
    """A lane runs the cases that it is given."""


def _env(stack: Stack, url: str) -> dict[str, str]:
    env = {
        "ANTIPHON_LLM_BACKEND": "openai",
        "ANTIPHON_LLM_OPENAI__BASE_URL": url,
        **{f"ANTIPHON_{name.upper()}_SLOTS": SLOTS for name in ("llm", "turn")},
    }
    if stack is Stack.STUB:
        env |= {"ANTIPHON_ASR_SLOTS": SLOTS, "ANTIPHON_TTS_SLOTS": SLOTS, "ANTIPHON_ASR_STUB__SCRIPT": HEARD}
        # A short pause is a complete verdict, on which an agent that may speculate begins its answer.
        env["ANTIPHON_TURN_STUB__COMPLETE_AFTER_MS"] = "60"
    return env
