"""WebRTC calls between /start and their offer."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# The oldest is forgotten when there are more.
MAX_STARTED = 64


@dataclass(slots=True)
class _Started:
    agent: str
    # On the event loop's clock.
    deadline_s: float
    timer: asyncio.TimerHandle


class StartedCalls:
    """Keeps a started call until its offer is taken, for `within_s` at most.

    `on_expired` and `on_forgotten` get the session id of a call that was not offered in time, or that was the oldest
    of too many.
    """

    def __init__(
        self,
        within_s: float,
        on_expired: Callable[[str], None],
        on_forgotten: Callable[[str], None],
    ) -> None:
        self._within_s = within_s
        self._on_expired = on_expired
        self._on_forgotten = on_forgotten
        self._calls: OrderedDict[str, _Started] = OrderedDict()

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._calls

    def agent_of(self, session_id: str) -> str:
        """Raises KeyError when no such call waits for its offer."""
        return self._calls[session_id].agent

    def add(self, session_id: str, agent: str) -> None:
        deadline_s = asyncio.get_running_loop().time() + self._within_s
        self._calls[session_id] = _Started(agent, deadline_s, self._timer(session_id, deadline_s))
        if len(self._calls) > MAX_STARTED:
            oldest, call = self._calls.popitem(last=False)
            call.timer.cancel()
            self._on_forgotten(oldest)

    def take(self, session_id: str) -> str | None:
        """Remove the call and return its agent, None when it is no longer waiting."""
        call = self._calls.pop(session_id, None)
        if call is None:
            return None
        call.timer.cancel()
        return call.agent

    @contextmanager
    def being_offered(self, session_id: str) -> Iterator[None]:
        """Let the call not expire while the context lasts. An offer that fails leaves it the rest of its time."""
        if call := self._calls.get(session_id):
            call.timer.cancel()
        try:
            yield
        finally:
            if call and self._calls.get(session_id) is call:
                call.timer.cancel()
                call.timer = self._timer(session_id, call.deadline_s)

    def clear(self) -> None:
        for session_id in list(self._calls):
            self.take(session_id)

    def _timer(self, session_id: str, deadline_s: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(deadline_s, self._expire, session_id)

    def _expire(self, session_id: str) -> None:
        if self.take(session_id) is not None:
            self._on_expired(session_id)
