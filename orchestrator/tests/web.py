"""The orchestrator's HTTP side without a socket, over services that may not be there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from own_bot import NOWHERE
from prometheus_client import CollectorRegistry

from antiphon_orchestrator.agents import Agent, Agents
from antiphon_orchestrator.backends import connected
from antiphon_orchestrator.gate import Gate
from antiphon_orchestrator.metrics import Metrics
from antiphon_orchestrator.sessions import Sessions
from antiphon_orchestrator.settings import Settings
from antiphon_orchestrator.web import create_app
from antiphon_orchestrator.workers.places import Places

AGENTS = {"ava": Agent(system_prompt="You are Ava."), "bob": Agent(system_prompt="You are Bob.")}


@dataclass
class Web:
    http: httpx.AsyncClient
    sessions: Sessions
    registry: CollectorRegistry

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def web(
    gate: Gate | None = None, *, limit: int = 2, targets: dict[str, str] | None = None, **told: Any
) -> AsyncIterator[Web]:
    settings = Settings(**(dict.fromkeys(("asr", "tts", "llm", "turn"), NOWHERE) | (targets or {})), **told)
    registry = CollectorRegistry()
    async with connected(settings) as backends:
        sessions = Sessions(backends, Agents("ava", AGENTS), Metrics.register(registry), places=Places(limit))
        app = create_app(settings, sessions, gate or Gate())
        transport = httpx.ASGITransport(app=app)
        async with lasting(app), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            yield Web(http, sessions, registry)


@asynccontextmanager
async def lasting(app: Any) -> AsyncIterator[None]:
    """The app's lifespan, begun and ended by one task, as a server does."""
    began, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            began.set()
            await over.wait()

    living = asyncio.create_task(live(), name="lifespan")
    await began.wait()
    try:
        yield
    finally:
        over.set()
        await living
