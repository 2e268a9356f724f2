"""A model's one thread."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from antiphon_turn.batcher import Batcher


class Doubling:
    """A model that waits to be let go, and remembers what it was asked together."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, questions: Sequence[int]) -> list[int]:
        self.batches.append(list(questions))
        self.began.release()
        self.go.acquire()
        if -1 in questions:
            raise ValueError("no")
        return [2 * question for question in questions]


@pytest.fixture
def model() -> Doubling:
    return Doubling()


@pytest.fixture
def batcher(model: Doubling) -> Iterator[Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(model, max_batch=3, name="doubling", urgency=lambda question: question // 100)
    yield batcher
    model.go.release(100)
    batcher.close()


async def busy(model: Doubling, batcher: Batcher[int, int], questions: Sequence[int]) -> list[asyncio.Task[int]]:
    """The first question is being answered, and the others wait."""
    tasks = [asyncio.create_task(batcher.ask(questions[0]))]
    await asyncio.to_thread(model.began.acquire)
    tasks += [asyncio.create_task(batcher.ask(question)) for question in questions[1:]]
    await asyncio.sleep(0)
    return tasks


async def test_all_that_wait_are_answered_together_up_to_the_batch_in_order(
    model: Doubling, batcher: Batcher[int, int]
) -> None:
    tasks = await busy(model, batcher, [1, 2, 3, 4, 5])
    model.go.release(3)
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert model.batches == [[1], [2, 3, 4], [5]]


async def test_nobody_works_for_an_asker_who_was_cancelled(model: Doubling, batcher: Batcher[int, int]) -> None:
    first, second, third = await busy(model, batcher, [1, 2, 3])
    first.cancel()
    second.cancel()
    await asyncio.sleep(0)
    model.go.release(2)
    assert await third == 6
    assert model.batches == [[1], [3]]


async def test_what_the_model_raises_its_askers_get_and_the_next_are_answered(
    model: Doubling, batcher: Batcher[int, int]
) -> None:
    tasks = await busy(model, batcher, [-1, 2])
    model.go.release(2)
    with pytest.raises(ValueError, match="no"):
        await tasks[0]
    assert await tasks[1] == 4


async def test_the_most_urgent_are_answered_first(model: Doubling, batcher: Batcher[int, int]) -> None:
    tasks = await busy(model, batcher, [1, 502, 203, 504, 5, 206])
    model.go.release(3)
    assert await asyncio.gather(*tasks) == [2, 1004, 406, 1008, 10, 412]
    assert model.batches == [[1], [5, 203, 206], [502, 504]]
