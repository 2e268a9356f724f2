"""A model's one thread: whoever asks waits, and all who wait are answered together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Answers questions with `work`, up to `max_batch` a call: the lowest `urgency` first, then the longest waiting.

    `work` runs in a thread of its own and answers in the order of its questions; what it raises, each of its askers
    gets. A question whose asker was cancelled is not worked on. What waits is bounded by the number of askers: each
    waits for its answer, and this service asks once per stream at a time.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Q]], Sequence[A]],
        *,
        max_batch: int,
        name: str,
        urgency: Callable[[Q], float] = lambda question: 0,
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._urgency = urgency
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def ask(self, question: Q) -> A:
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((question, answer))
        self._thread.submit(self._take)
        return await answer

    def close(self) -> None:
        """Ends the thread. Whoever still waits is never answered."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    # One call is submitted per question, and each takes all that wait: the calls left over find nothing.
    def _take(self) -> None:
        batch = self._next_batch()
        if not batch:
            return
        loop = batch[0][1].get_loop()
        answers = [answer for _, answer in batch]
        try:
            results = self._work([question for question, _ in batch])
        except Exception as error:
            loop.call_soon_threadsafe(_fail, answers, error)
        else:
            loop.call_soon_threadsafe(_give, answers, results)

    def _next_batch(self) -> list[tuple[Q, asyncio.Future[A]]]:
        with self._lock:
            wanted = [waiting for waiting in self._waiting if not waiting[1].cancelled()]
            wanted.sort(key=lambda waiting: self._urgency(waiting[0]))
            self._waiting = wanted[self._max_batch :]
        return wanted[: self._max_batch]


def _give(answers: Sequence["asyncio.Future[A]"], results: Sequence[A]) -> None:
    for answer, result in zip(answers, results, strict=True):
        if not answer.done():
            answer.set_result(result)


def _fail(answers: Sequence["asyncio.Future[A]"], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
