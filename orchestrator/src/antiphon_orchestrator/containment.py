"""Containment of faults in what only observes a call: metrics, traces, logs and the account of its turns."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

# Tracebacks logged per place and call; further faults are only counted.
MOST_LOGGED = 3


class Containment:
    """Counts and logs exceptions of a call's instruments, which must not end the call.

    Not for cancellation, which passes, nor for faults that the caller must hear of.
    """

    def __init__(self, count: Callable[[str], None], session_id: str = "") -> None:
        """`count` gets the place of each fault; `session_id` is logged with it, "" outside a call."""
        self._count = count
        self._session_id = session_id
        self._seen: Counter[str] = Counter()

    def of_call(self, session_id: str) -> "Containment":
        """The same for one call."""
        return Containment(self._count, session_id)

    @contextmanager
    def contained(self, where: str) -> Iterator[None]:
        """Suppress exceptions raised in the context. `where` is the label of `antiphon_internal_errors_total`."""
        try:
            yield
        except Exception:
            self._seen[where] += 1
            if self._seen[where] <= MOST_LOGGED:
                fields = {"session_id": self._session_id, "where": where}
                log.exception("internal error in %s, session %s", where, self._session_id, extra={"fields": fields})
            try:
                self._count(where)
            except Exception:  # the counter may be the fault
                log.exception("internal error in %s cannot be counted", where)
