"""The model's one thread, and what waits for it: the most urgent job first."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum

from .. import Work


class Rank(IntEnum):
    """What a job is for. Lower goes first."""

    COMMIT = 0
    SPECULATE = 1
    SETTLE = 2
    INTERIM = 3


@dataclass(frozen=True, slots=True)
class Decoded:
    """A clip's text, and when the model began, on the monotonic clock."""

    text: str
    began_s: float


# Given "whether something more urgent waits", gives the text, or None when it gave up.
Run = Callable[[Callable[[], bool]], str | None]


@dataclass(slots=True, eq=False)
class Job:
    """A run of the model that waits or is over. `result` is None when the run gave up."""

    rank: Rank
    run: Run
    result: "Future[Decoded | None]" = field(default_factory=Future)


class Worker:
    """Runs jobs one at a time. Whoever submits bounds how many wait: each stream has a fixed number."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="moonshine")
        self._lock = threading.Lock()
        self._jobs: list[Job] = []
        self._work = {rank: Work(0, 0.0) for rank in Rank}

    def submit(self, rank: Rank, run: Run) -> Job:
        job = Job(rank, run)
        with self._lock:
            self._jobs.append(job)
        self._executor.submit(self._turn)
        return job

    def hurry(self, job: Job, rank: Rank) -> None:
        """Makes `job` at least as urgent as `rank`."""
        with self._lock:
            job.rank = min(job.rank, rank)

    def work(self) -> Mapping[str, Work]:
        return {rank.name.lower(): work for rank, work in self._work.items()}

    def close(self) -> None:
        """Waits for the run in progress; drops the rest."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _turn(self) -> None:
        with self._lock:
            job = min(self._jobs, key=lambda waiting: waiting.rank)
            self._jobs.remove(job)
        if not job.result.set_running_or_notify_cancel():
            return
        began_s = time.monotonic()
        try:
            text = job.run(lambda: self._more_urgent(job))
        except Exception as error:
            job.result.set_exception(error)
            return
        if text is not None:
            self._count(job.rank, time.monotonic() - began_s)
        job.result.set_result(None if text is None else Decoded(text, began_s))

    def _more_urgent(self, job: Job) -> bool:
        with self._lock:
            return any(waiting.rank < job.rank for waiting in self._jobs)

    def _count(self, rank: Rank, seconds: float) -> None:
        before = self._work[rank]
        self._work[rank] = Work(before.runs + 1, before.seconds + seconds)
