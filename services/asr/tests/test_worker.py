"""The order in which the model's thread takes its work."""

import threading
from collections.abc import Callable

import pytest

worker = pytest.importorskip("antiphon_asr.backends.moonshine.worker", reason="needs the extra cpu")
Rank = worker.Rank


class Busy:
    """A worker whose thread is held until `release`, and what ran after that, in order."""

    def __init__(self) -> None:
        self.worker = worker.Worker()
        self.ran: list[str] = []
        self._held = threading.Event()
        self.first = self.worker.submit(Rank.INTERIM, self._hold)

    def _hold(self, gives_up: Callable[[], bool]) -> str | None:
        self._held.wait()
        return None if gives_up() else "first"

    def submit(self, rank: int, name: str):
        return self.worker.submit(rank, lambda _: self.ran.append(name) or name)

    def release(self) -> None:
        self._held.set()
        self.worker._executor.shutdown(wait=True)


def test_commits_go_before_speculations_before_pieces_before_interims() -> None:
    busy = Busy()
    for rank, name in [(Rank.INTERIM, "i"), (Rank.SETTLE, "p"), (Rank.SPECULATE, "s"), (Rank.COMMIT, "c")]:
        busy.submit(rank, name + "1")
        busy.submit(rank, name + "2")
    busy.release()
    assert busy.ran == ["c1", "c2", "s1", "s2", "p1", "p2", "i1", "i2"]


def test_an_interim_gives_up_when_something_more_urgent_waits() -> None:
    busy = Busy()
    busy.submit(Rank.SPECULATE, "s")
    busy.release()
    assert busy.first.result.result() is None
    assert busy.worker.work()["interim"].runs == 0


def test_an_interim_is_finished_when_only_interims_wait() -> None:
    busy = Busy()
    busy.submit(Rank.INTERIM, "i")
    busy.release()
    assert busy.first.result.result().text == "first"


def test_a_hurried_job_overtakes_and_a_cancelled_one_never_runs() -> None:
    busy = Busy()
    busy.submit(Rank.SPECULATE, "s")
    piece = busy.submit(Rank.SETTLE, "p")
    dropped = busy.submit(Rank.COMMIT, "dropped")
    busy.worker.hurry(piece, Rank.COMMIT)
    dropped.result.cancel()
    busy.release()
    assert busy.ran == ["p", "s"]


def test_a_job_that_fails_tells_who_waits_and_the_worker_goes_on() -> None:
    busy = Busy()
    failing = busy.worker.submit(Rank.COMMIT, lambda _: 1 / 0)
    busy.submit(Rank.SETTLE, "p")
    busy.release()
    assert isinstance(failing.result.exception(), ZeroDivisionError)
    assert busy.ran == ["p"]
