"""The conversations of this process: how many there may be, and what is remembered of those that ended."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pipecat.transports.base_transport import BaseTransport

from .agents import Agent, Agents
from .backends import Backends
from .metrics import Metrics
from .session import Session, converse
from .timeline import Turn

log = logging.getLogger(__name__)

# Timelines of ended sessions stay readable for as long as this many newer ones have not ended.
REMEMBERED = 100


class Full(Exception):
    """Every conversation that this process may hold is under way."""


class UnknownAgent(Exception):
    """No agent has this name."""


class Sessions:
    def __init__(
        self, backends: Backends, agents: Agents, metrics: Metrics, *, limit: int, record_dir: Path | None = None
    ) -> None:
        self.agents = agents
        self._backends = backends
        self._metrics = metrics
        self._limit = limit
        self._record_dir = record_dir
        self._active: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[object] | None] = {}
        self._ended: OrderedDict[str, Session] = OrderedDict()

    @property
    def active(self) -> int:
        return len(self._active)

    def find(self, session_id: str) -> Session | None:
        return self._active.get(session_id) or self._ended.get(session_id)

    def check(self, agent_name: str) -> Agent:
        """The named agent. Raises Full or UnknownAgent when a session with it could not begin now."""
        agent = self.agents.get(agent_name)
        if agent is None:
            self._metrics.refused.labels("unknown_agent").inc()
            raise UnknownAgent(f"no agent {agent_name!r}: there are {', '.join(self.agents.names)}")
        if len(self._active) >= self._limit:
            self._metrics.refused.labels("full").inc()
            raise Full(f"all {self._limit} conversations are taken")
        return agent

    @asynccontextmanager
    async def admitted(self, agent_name: str, session_id: str = "") -> AsyncIterator[Session]:
        """Holds one of the places for as long as the context lasts. Raises as `check` does."""
        session = Session(session_id or uuid.uuid4().hex, agent_name or self.agents.default, self.check(agent_name))
        self._active[session.session_id] = session
        self._tasks[session.session_id] = asyncio.current_task()
        self._metrics.sessions.inc()
        log.info("session %s begins (agent %s)", session.session_id, session.agent_name)
        try:
            yield session
        finally:
            self._metrics.sessions.dec()
            del self._active[session.session_id], self._tasks[session.session_id]
            self._ended[session.session_id] = session
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
            log.info("session %s ends after %s turns", session.session_id, len(session.turns))

    async def run(self, session: Session, transport: BaseTransport) -> None:
        """The conversation, until the caller hangs up."""
        record_to = self._record_dir / f"{session.session_id}.wav" if self._record_dir else None
        await converse(
            session,
            transport,
            self._backends,
            on_turn=self._count,
            on_empty=self._metrics.empty.inc,
            record_to=record_to,
        )

    async def hang_up(self) -> None:
        """Ends every conversation and waits until they have ended."""
        tasks = [task for task in self._tasks.values() if task]
        await asyncio.gather(*(session.hang_up() for session in self._active.values()))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _count(self, turn: Turn) -> None:
        self._metrics.observe(turn)
