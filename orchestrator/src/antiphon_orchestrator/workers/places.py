"""Numbered places that a fixed number of holders can have, in one process or in several."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class Places:
    """Places 0 to `count` - 1 of this process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._mine: set[int] = set()

    def take(self) -> int | None:
        """The lowest one that is free, None when none is."""
        for place in range(self.count):
            if place not in self._mine and self._lock(place):
                self._mine.add(place)
                return place
        return None

    def give_back(self, place: int) -> None:
        self._mine.discard(place)
        self._unlock(place)

    def are_taken(self) -> bool:
        """Whether there is no free place at this moment."""
        place = self.take()
        if place is not None:
            self.give_back(place)
        return place is None

    def _lock(self, place: int) -> bool:
        return True

    def _unlock(self, place: int) -> None:
        """Nobody else knows of it."""


class SharedPlaces(Places):
    """Places of all processes that name the same file: each holds a byte of it locked, and a dead one holds none."""

    def __init__(self, count: int, path: Path) -> None:
        super().__init__(count)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def close(self) -> None:
        os.close(self._file)

    def _lock(self, place: int) -> bool:
        with suppress(BlockingIOError, PermissionError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        return False

    def _unlock(self, place: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
