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
from antiphon_orchestrator.agents import Agent, Agents
from antiphon_orchestrator.backends import Backends, connected
from antiphon_orchestrator.gate import Gate
from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.sessions import Sessions
from antiphon_orchestrator.settings import Settings
from antiphon_orchestrator.web import create_app
from antiphon_runtime.testing import Served, serving

SERVICES = {
    "asr": (antiphon_asr.service, antiphon_asr.settings.Settings),
    "tts": (antiphon_tts.service, antiphon_tts.settings.Settings),
    "llm": (antiphon_llm.service, antiphon_llm.settings.Settings),
    "turn": (antiphon_turn.service, antiphon_turn.settings.Settings),
}
AVA = Agent(system_prompt="You are Ava.")


@dataclass(frozen=True)
class Platform:
    """Running services and orchestrator."""

    url: str
    page: str
    services: dict[str, Served]
    backends: Backends
    sessions: Sessions
    registry: CollectorRegistry

    def slots_used(self) -> dict[str, float]:
        return {name: served.sample(f"antiphon_{name}_slots_used") for name, served in self.services.items()}

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def platform(
    *,
    agents: dict[str, Agent] | None = None,
    verifier: Any = None,
    slots: int = 8,
    backends: dict[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Platform]:
    """Everything up and ready; everything down when the context ends."""
    chosen = dict.fromkeys(SERVICES, "stub") | (backends or {})
    async with AsyncExitStack() as stack:
        services = {}
        for name, (module, cls) in SERVICES.items():
            own = cls(bind="127.0.0.1:0", backend=chosen[name], slots=slots, grace_s=0.0)
            services[name] = await stack.enter_async_context(serving(module.SERVICE, module.build(own), own))
        targets = {name: served.target for name, served in services.items()}
        own_settings = Settings(bind="127.0.0.1:0", **targets, **settings)
        pools = await stack.enter_async_context(connected(own_settings))
        registry = CollectorRegistry()
        known = agents or {"ava": AVA}
        sessions = Sessions(
            pools,
            Agents(next(iter(known)), known),
            Metrics.register(registry),
            limit=own_settings.max_sessions,
            record_dir=own_settings.record_dir,
        )
        port = await stack.enter_async_context(served_http(create_app(own_settings, sessions, Gate(verifier))))
        yield Platform(f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}", services, pools, sessions, registry)


@asynccontextmanager
async def served_http(app: Any) -> AsyncIterator[int]:
    """The app on a free port of this process's loop."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=2, lifespan="on")
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


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Returns as soon as `condition` holds. Raises TimeoutError when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
