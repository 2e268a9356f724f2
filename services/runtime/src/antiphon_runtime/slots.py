"""The slots of a model: a stream holds one, and who finds none is told at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import NoCapacity
from .metrics import SlotMetrics


class Slots:
    def __init__(self, total: int, metrics: SlotMetrics | None = None) -> None:
        self.total = total
        self.used = 0
        self._metrics = metrics
        if metrics:
            metrics.total.set(total)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """One slot, until the context ends. Raises NoCapacity when all are held."""
        if self.used >= self.total:
            raise NoCapacity(f"all {self.total} slots are taken", reason="NO_SLOT")
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.used += change
        if self._metrics:
            self._metrics.used.set(self.used)
