"""The conversations of this process: how many there may be, and what is remembered of those that ended."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from opentelemetry.trace import NoOpTracer
from pipecat.transports.base_transport import BaseTransport

from antiphon_runtime.calls import Call, working_for

from .agents import Agent, Agents
from .backends import Backends
from .call_metrics import CallMetrics
from .containment import Containment
from .conversation import converse
from .door import Door
from .limits import Limit, LimitReports
from .metrics import Metrics
from .records.options import Format, Reason, RecordingOptions
from .records.recording import Recording
from .session import Session
from .tracing import Traces
from .usual import Usual
from .workers.places import Places

log = logging.getLogger(__name__)

# Timelines of ended sessions stay readable for as long as this many newer ones have not ended.
REMEMBERED = 100


class Full(Exception):
    """Every conversation that this process may hold is under way."""


class Draining(Exception):
    """This process is about to stop: another one takes new calls."""


class UnknownAgent(Exception):
    """No agent has this name."""


class Sessions:
    def __init__(
        self,
        backends: Backends,
        agents: Agents,
        metrics: Metrics,
        *,
        places: Places,
        record_dir: Path | None = None,
        record_format: Format = "wav",
        id_prefix: str = "",
        trace_text: bool = False,
    ) -> None:
        """`places` bounds the conversations at once; `id_prefix` begins every session's id.

        `trace_text`: whether traces may hold what was said.
        """
        self.agents = agents
        self._backends = backends
        self._metrics = metrics
        self._containment = Containment(lambda where: metrics.internal_errors.labels(where).inc())
        self._places = places
        self._id_prefix = id_prefix
        self._recording = RecordingOptions(record_dir, record_format, self._recording_failed) if record_dir else None
        self._trace_text = trace_text
        self._usual = Usual()
        self._active: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[object] | None] = {}
        self._ended: OrderedDict[str, Session] = OrderedDict()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False
        # From when the process was told to stop; for a while it still takes calls that did not hear of it.
        self.draining = False

    @property
    def active(self) -> int:
        return len(self._active)

    def new_id(self) -> str:
        return f"{self._id_prefix}{uuid.uuid4().hex}"

    def _limit_reports(self, session_id: str) -> LimitReports:
        return LimitReports(session_id, lambda limit: self._metrics.limits.labels(limit).inc())

    def limit_reached(self, session_id: str, limit: Limit, detail: str) -> None:
        """Counts and logs a limit of a call that has no session yet."""
        self._limit_reports(session_id)(limit, detail)

    def find(self, session_id: str) -> Session | None:
        return self._active.get(session_id) or self._ended.get(session_id)

    def find_trace(self, trace_id: str) -> Session | None:
        """The session that has a turn of this trace."""
        sessions = (*self._active.values(), *self._ended.values())
        return next((one for one in sessions if any(turn.trace_id == trace_id for turn in one.turns)), None)

    def check(self, agent_name: str) -> Agent:
        """The named agent. Raises Draining, Full or UnknownAgent when a session with it could not begin now."""
        if self._closed:
            self._refused("draining")
            raise Draining("this process is about to stop: call again")
        agent = self.agents.get(agent_name)
        if agent is None:
            self._refused("unknown_agent")
            raise UnknownAgent(f"no agent {agent_name!r}: there are {', '.join(self.agents.names)}")
        if self._places.are_taken():
            raise self._full()
        return agent

    def _full(self) -> Full:
        self._refused("full")
        return Full(f"all {self._places.count} conversations are taken")

    def _refused(self, reason: str) -> None:
        with self._containment.contained("metrics"):
            self._metrics.refused.labels(reason).inc()

    @asynccontextmanager
    async def admitted(self, agent_name: str, session_id: str = "") -> AsyncIterator[Session]:
        """Holds one of the places for as long as the context lasts. Raises as `check` does."""
        agent = self.check(agent_name)
        place = self._places.take()
        if place is None:  # another process was faster
            raise self._full()
        name, call = agent_name or self.agents.default, Call(session_id or self.new_id())
        containment = self._containment.of_call(call.session_id)
        traces = self._traces(call, name, containment)
        metrics = CallMetrics(self._metrics, self._usual, containment)
        limits = self._limit_reports(call.session_id)
        session = Session(call.session_id, name, agent, call, traces, containment, metrics, limits)
        self._active[session.session_id] = session
        self._empty.clear()
        self._tasks[session.session_id] = asyncio.current_task()
        with containment.contained("metrics"):
            self._metrics.sessions.inc()
        try:
            with working_for(call):
                log.info("session %s begins (agent %s)", session.session_id, session.agent_name)
                yield session
        except Exception:
            session.end("error")
            raise
        finally:
            session.end("server")
            self._places.give_back(place)
            self._over(session)

    def _traces(self, call: Call, name: str, containment: Containment) -> Traces:
        with containment.contained("traces"):
            return Traces(call, name, with_text=self._trace_text)
        return Traces(call, name, tracer=NoOpTracer())

    def _over(self, session: Session) -> None:
        del self._active[session.session_id], self._tasks[session.session_id]
        if not self._active:
            self._empty.set()
        self._ended[session.session_id] = session
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        ended = session.ended or "server"
        with session.containment.contained("traces"):
            session.traces.end(ended, len(session.turns))
        with session.containment.contained("metrics"):
            self._metrics.ended.labels(ended).inc()
            self._metrics.sessions.dec()
        log.info(
            "session %s ends after %s turns: %s",
            session.session_id,
            len(session.turns),
            ended,
            extra={"fields": {"session_id": session.session_id, "ended": ended}},
        )

    def open_door(self, session: Session) -> Door:
        """The door of the session, through which a transport passes what its caller sends."""
        session.door = Door(session)
        return session.door

    async def run(self, session: Session, transport: BaseTransport) -> None:
        """The conversation, until the caller hangs up."""
        recording = Recording(session.session_id, self._recording) if self._recording else None
        await converse(session, transport, self._backends, recording=recording)

    async def drain(self, drain_s: float, grace_s: float) -> None:
        """Takes new conversations for another `drain_s`, then none, and waits up to `grace_s` for the last to end."""
        self.draining = True
        log.info("draining: %s conversations are under way", self.active)
        await asyncio.sleep(drain_s)
        self._closed = True
        try:
            await asyncio.wait_for(self._empty.wait(), grace_s)
        except TimeoutError:
            log.warning("%s conversations are cut off after %g s", self.active, grace_s)

    async def hang_up(self) -> None:
        """Ends every conversation and waits until they have ended."""
        tasks = [task for task in self._tasks.values() if task]
        await asyncio.gather(*(session.hang_up() for session in self._active.values()))
        await asyncio.gather(*tasks, return_exceptions=True)

    def _recording_failed(self, reason: Reason) -> None:
        with self._containment.contained("metrics"):
            self._metrics.recording_errors.labels(reason).inc()
