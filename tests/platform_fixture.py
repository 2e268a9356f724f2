"""The whole platform in one process, on stubs and free ports, for tests that look inside it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry

import antiphon_asr.service
import antiphon_asr.settings
import antiphon_llm.service
import antiphon_llm.settings
import antiphon_tts.service
import antiphon_tts.settings
import antiphon_turn.service
import antiphon_turn.settings
from antiphon_orchestrator.agents import Agent, Agents, Phrases
from antiphon_orchestrator.backends import Backends, connected
from antiphon_orchestrator.gate import Gate
from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.sessions import Sessions
from antiphon_orchestrator.settings import Settings
from antiphon_orchestrator.web import create_app
from antiphon_orchestrator.wire import MAX_MESSAGE_BYTES
from antiphon_orchestrator.workers.places import Places
from antiphon_runtime.testing import Served, serving

SERVICES = {
    "asr": (antiphon_asr.service, antiphon_asr.settings.Settings),
    "tts": (antiphon_tts.service, antiphon_tts.settings.Settings),
    "llm": (antiphon_llm.service, antiphon_llm.settings.Settings),
    "turn": (antiphon_turn.service, antiphon_turn.settings.Settings),
}
# Says nothing by herself, so that what the voice is asked for is the answers.
SILENT = Phrases(apology="", farewell="", goodbye="", filler="", prompt="", time_up="")
AVA = Agent(system_prompt="You are Ava.", phrases=SILENT)


class Fleet:
    """Servers by name and number, which can be stopped, at once, and started again where they were."""

    def __init__(self, build: Callable[[str, str], Any]) -> None:
        self._build = build
        self._up: dict[tuple[str, int], AsyncExitStack] = {}
        self.served: dict[tuple[str, int], Served] = {}

    async def start(self, name: str, number: int = 0) -> Served:
        before = self.served.get((name, number))
        stack = AsyncExitStack()
        served: Served = await stack.enter_async_context(self._build(name, before.target if before else "127.0.0.1:0"))
        self._up[name, number], self.served[name, number] = stack, served
        return served

    async def stop(self, name: str, number: int = 0) -> None:
        if stack := self._up.pop((name, number), None):
            await stack.aclose()

    async def stop_all(self) -> None:
        for name, number in list(self._up):
            await self.stop(name, number)

    def targets(self, name: str) -> str:
        return ",".join(served.target for (one, _), served in self.served.items() if one == name)


@dataclass(frozen=True)
class Platform:
    """Running services and orchestrator. Of each service's replicas, `services` are the first ones."""

    url: str
    page: str
    services: dict[str, Served]
    backends: Backends
    sessions: Sessions
    registry: CollectorRegistry
    fleet: Fleet

    def slots_used(self) -> dict[str, float]:
        return {name: served.sample(f"antiphon_{name}_slots_used") for name, served in self.services.items()}

    def idle(self) -> bool:
        """Return True if nothing of any call is left."""
        used = (*self.slots_used().values(), *self.backends.open_streams.values(), self.sessions.active)
        return not any(used)

    def served(self, service: str) -> list[Served]:
        """All replicas of a service, also those that are down."""
        return [served for (name, _), served in self.fleet.served.items() if name == service]

    def rpcs(self, service: str, outcome: str) -> float:
        """Return the number of streams of a service that ended with `outcome`."""
        method = {"asr": "Transcribe", "tts": "Synthesize", "llm": "Generate", "turn": "Detect"}[service]
        labels = {"method": method, "outcome": outcome}
        return sum(served.sample("antiphon_rpc_seconds_count", **labels) for served in self.served(service))

    def sample(self, name: str, **labels: str) -> float:
        """A metric of the orchestrator's, 0 when it was never set."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def platform(
    *,
    agents: dict[str, Agent] | None = None,
    verifier: Any = None,
    slots: int = 8,
    backends: dict[str, str] | None = None,
    services: dict[str, Any] | None = None,
    unlike: dict[str, dict[str, Any]] | None = None,
    replicas: int = 1,
    **settings: Any,
) -> AsyncIterator[Platform]:
    """Everything up and ready, `replicas` times each service; everything down when the context ends.

    `services` are settings of all four, `unlike` those in which one differs, `settings` those of the orchestrator.
    """
    chosen = dict.fromkeys(SERVICES, "stub") | (backends or {})

    def build(name: str, bind: str) -> Any:
        module, cls = SERVICES[name]
        given = {"slots": slots, **(services or {}), **(unlike or {}).get(name, {})}
        own = cls(bind=bind, backend=chosen[name], grace_s=0.0, **given)
        return serving(module.SERVICE, module.build(own), own)

    async with AsyncExitStack() as stack:
        fleet = Fleet(build)
        stack.push_async_callback(fleet.stop_all)
        for name in SERVICES:
            for number in range(replicas):
                await fleet.start(name, number)
        targets = {name: fleet.targets(name) for name in SERVICES}
        own_settings = Settings(bind="127.0.0.1:0", **targets, **settings)
        pools = await stack.enter_async_context(connected(own_settings))
        registry = CollectorRegistry()
        known = agents or {"ava": AVA}
        sessions = Sessions(
            pools,
            Agents(next(iter(known)), known),
            Metrics.register(registry),
            places=Places(own_settings.max_sessions),
            record_dir=own_settings.record_dir,
            record_format=own_settings.record_format,
        )
        port = await stack.enter_async_context(served_http(create_app(own_settings, sessions, Gate(verifier))))
        served = {name: fleet.served[name, 0] for name in SERVICES}
        address = f"127.0.0.1:{port}"
        yield Platform(f"ws://{address}/ws", f"http://{address}", served, pools, sessions, registry, fleet)


@asynccontextmanager
async def served_http(app: Any) -> AsyncIterator[int]:
    """The app on a free port of this process's loop."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            timeout_graceful_shutdown=2,
            lifespan="on",
            ws_max_size=MAX_MESSAGE_BYTES,
        )
    )
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving_task = asyncio.create_task(_serve(server), name="uvicorn")
    await until(lambda: server.started or serving_task.done())
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving_task


async def _serve(server: uvicorn.Server) -> None:
    # `serve` would take the test runner's signals.
    await server._serve()


async def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    """Returns as soon as `condition` holds. Raises TimeoutError when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # what is looked at announces nothing
            await asyncio.sleep(0.01)
