"""The account of a call's turns: explained, measured, traced, logged and sent to the caller's client.

A fault in any of these is contained: the call does not depend on them.
"""

from pipecat.frames.frames import OutputTransportMessageUrgentFrame

from .ledger import Ledger
from .session import Session
from .timeline import Turn


class Account:
    """Receives turns from the observer and passes them to every instrument, each by itself."""

    def __init__(self, session: Session, ledger: Ledger, *, apologizes: bool) -> None:
        """`apologizes`: the agent says sorry for a missing answer."""
        self._session = session
        self._ledger = ledger
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
            message = {"type": "antiphon.turn", "turn": turn.to_json()}
            if worker := self._session.worker:
                await worker.queue_frame(OutputTransportMessageUrgentFrame(message=message))
