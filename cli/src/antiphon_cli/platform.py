"""Processes that `antiphon up` runs: four services and the orchestrator, on real CPU models or on stubs."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from antiphon_orchestrator.agents import Agents
from antiphon_orchestrator.settings import BUILT_IN_AGENTS
from antiphon_runtime.errors import ConfigError

# Model processes on few cores: one thread each for matrix libraries, and no spinning while they wait.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
BACKENDS = {
    "cpu": {"asr": "moonshine", "tts": "hibari", "llm": "llamacpp", "turn": "smart-turn"},
    "stub": {"asr": "stub", "tts": "stub", "llm": "stub", "turn": "stub"},
}
# The backends that take their weights from the folder of models.
WITH_WEIGHTS = ("moonshine", "llamacpp")
PORTS = {"asr": 50051, "tts": 50052, "llm": 50053, "turn": 50054, "orchestrator": 7860}
# Prometheus, at the port plus this.
METRICS_OFFSET = 1000
COLORS = {"asr": "cyan", "tts": "magenta", "llm": "yellow", "turn": "green", "orchestrator": "blue"}


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the platform: how it is started, and how to tell that it is ready."""

    name: str
    module: str
    bind: str
    env: Mapping[str, str]
    # The proto service whose health tells; "" for the orchestrator, which answers HTTP.
    health: str = ""
    # Path of the Python interpreter; "" is the current one.
    python: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A platform to run."""

    models: str = "cpu"
    host: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    models_dir: Path | None = None
    record_dir: Path | None = None
    agents_file: Path | None = None
    metrics: bool = True
    # Where every process sends its traces, "" for nowhere.
    otlp_url: str = ""
    # The model and the voice take turns on the device that they share.
    single_gpu: bool = False
    # Processes of the orchestrator, which share its port.
    workers: int = 1
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def page(self) -> str:
        return f"http://{self.bind('orchestrator')}"

    @property
    def call_url(self) -> str:
        return f"ws://{self.bind('orchestrator')}/ws"

    def bind(self, name: str) -> str:
        """Return the address a process listens on: the one set in the plan or by the user, else its default port."""
        variable = f"ANTIPHON_{name.upper()}_BIND"
        host = self.host if name == "orchestrator" else "127.0.0.1"
        return self.env.get(variable) or os.environ.get(variable) or f"{host}:{self.ports[name]}"

    def processes(self, warm_prompt: Path | None = None) -> list[Process]:
        """All of them. The language model evaluates the messages in `warm_prompt` before it is ready."""
        services = [self.service(name, backend, warm_prompt) for name, backend in BACKENDS[self.models].items()]
        return [*services, self._orchestrator()]

    def write_warm_prompt(self, folder: Path) -> Path:
        """A file with what every conversation of the default agent begins with. Raises ConfigError."""
        agents = Agents.load(self.agents_file or BUILT_IN_AGENTS)
        agent = agents.get("")
        path = folder / "warm_prompt.json"
        path.write_text(json.dumps(agent.prompt() if agent else []))
        return path

    def service(self, name: str, backend: str, warm_prompt: Path | None = None) -> Process:
        """One of the four services, on `backend` unless the user's environment or the plan's says otherwise."""
        prefix = f"ANTIPHON_{name.upper()}_"
        env = {f"{prefix}BIND": self.bind(name), f"{prefix}BACKEND": backend, f"{prefix}GRACE_S": "1"}
        if self.metrics:
            env[f"{prefix}METRICS_BIND"] = f"127.0.0.1:{self.ports[name] + METRICS_OFFSET}"
        if self.otlp_url:
            env[f"{prefix}OTLP_URL"] = self.otlp_url
        if self.models_dir and backend in WITH_WEIGHTS:
            env[f"{prefix}{backend.upper()}__MODELS_DIR"] = str(self.models_dir)
        if backend == "llamacpp" and warm_prompt:
            env[f"{prefix}LLAMACPP__WARM_PROMPT_FILE"] = str(warm_prompt)
        health = f"antiphon.{name}.v1.{name.capitalize()}Service"
        return Process(name, f"antiphon_{name}", self.bind(name), self._env(env), health)

    def _orchestrator(self) -> Process:
        prefix = "ANTIPHON_ORCHESTRATOR_"
        env = {f"{prefix}{name.upper()}": self.bind(name) for name in BACKENDS[self.models]}
        env[f"{prefix}BIND"] = bind = self.bind("orchestrator")
        if self.metrics:
            env[f"{prefix}METRICS_BIND"] = f"127.0.0.1:{self.ports['orchestrator'] + METRICS_OFFSET}"
        if self.otlp_url:
            env[f"{prefix}OTLP_URL"] = self.otlp_url
        if self.record_dir:
            env[f"{prefix}RECORD_DIR"] = str(self.record_dir)
        if self.agents_file:
            env[f"{prefix}AGENTS_FILE"] = str(self.agents_file)
        if self.single_gpu:
            env[f"{prefix}SINGLE_GPU"] = "true"
        if self.workers > 1:
            env[f"{prefix}WORKERS"] = str(self.workers)
        return Process("orchestrator", "antiphon_orchestrator", bind, self._env(env))

    def _env(self, own: Mapping[str, str]) -> dict[str, str]:
        """Merge a process's environment. The user's variables win over the plan's, so any setting can be changed."""
        user = {name: value for name, value in os.environ.items() if name.startswith("ANTIPHON_")}
        return {**os.environ, **THREADS, **own, **user, **self.env}


def free_ports() -> dict[str, int]:
    """A port for each process that nobody listens on now."""
    sockets = {name: socket.socket() for name in PORTS}
    try:
        for held in sockets.values():
            held.bind(("127.0.0.1", 0))
        return {name: held.getsockname()[1] for name, held in sockets.items()}
    finally:
        for held in sockets.values():
            held.close()


def taken(bind: str) -> bool:
    """Return True if something else listens on "host:port"."""
    host, _, port = bind.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return True
    return False


def check_ports(plan: Plan) -> None:
    """Raises ConfigError naming every port that is in use."""
    used = [f"{process.bind} ({process.name})" for process in plan.processes() if taken(process.bind)]
    if used:
        raise ConfigError(
            f"in use already: {', '.join(used)}. Is another `antiphon up` running? `antiphon doctor` tells more."
        )
