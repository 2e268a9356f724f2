"""The account of a call's turns: explained, measured, traced, logged and sent to the caller's client.

A fault in any of these is contained: the call does not depend on them.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from .ledger import Ledger
from .session import Session
from .timeline import Turn


class Account:
    """Receives turns from the observer and passes them to every instrument, each by itself."""

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        *,
        apologizes: bool,
    ) -> None:
        """`send` sends a message to the caller's client; `apologizes`: the agent says sorry for a missing answer."""
        self._ledger = ledger
        self._send = send
        self._metrics = session.metrics
        self._containment = session.containment
        self._apologizes = apologizes

    def begun(self, turn: Turn, start_ns: int) -> None:
        """Speech of the turn began at `start_ns` on the pipeline's clock."""
        with self._containment.contained("traces"):
            self._ledger.begun(turn, start_ns)

    def empty(self, turn_id: int) -> None:
        """The turn had no words."""
        with self._containment.contained("traces"):
            self._ledger.empty(turn_id)
        self._metrics.empty_utterance()

    async def closed(self, turn: Turn, waiting: bool) -> None:
        """The turn is over. `waiting`: the caller waited in vain for its answer."""
        contained = self._containment.contained
        turn.apologized = waiting and self._apologizes
        self._metrics.turn(turn)
        with contained("ledger"):
            self._ledger.closed(turn)
        with contained("message"):
            await self._send({"type": "antiphon.turn", "turn": turn.to_json()})
