"""Who is worked for first."""

import asyncio
import threading

import pytest

from antiphon_tts.turns import Turns


async def test_the_most_urgent_goes_first_and_the_cancelled_never() -> None:
    turns, held, done = Turns("test"), threading.Event(), []
    running = asyncio.create_task(turns.run(held.wait, 0.0))
    await asyncio.sleep(0)
    waiting = {at: asyncio.create_task(turns.run(lambda at=at: done.append(at), at)) for at in (9.0, 5.0, 0.0, 7.0)}
    await asyncio.sleep(0)
    waiting[5.0].cancel()
    held.set()
    await running
    await asyncio.gather(*waiting.values(), return_exceptions=True)
    assert done == [0.0, 7.0, 9.0]
    assert turns.started == 4
    turns.close()


async def test_who_is_cancelled_at_work_does_not_stop_the_others() -> None:
    turns, held, begun = Turns("test"), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        held.wait()

    running = asyncio.create_task(turns.run(work, 0.0))
    await asyncio.to_thread(begun.wait)
    next_one = asyncio.create_task(turns.run(lambda: 3, 1.0))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not next_one.done()
    held.set()
    assert await next_one == 3
    assert await turns.run(lambda: 4, 0.0) == 4
    turns.close()


async def test_a_turn_given_to_someone_cancelled_is_passed_on() -> None:
    turns, held = Turns("test"), threading.Event()
    running = asyncio.create_task(turns.run(held.wait, 0.0))
    await asyncio.sleep(0)
    first, second = (asyncio.create_task(turns.run(lambda at=at: at, at)) for at in (1.0, 2.0))
    await asyncio.sleep(0)
    running_done = asyncio.create_task(asyncio.wait([running]))
    held.set()
    await running_done
    first.cancel()
    assert await second == 2.0
    turns.close()


async def test_an_error_reaches_who_asked_and_frees_the_thread() -> None:
    turns = Turns("test")
    with pytest.raises(ZeroDivisionError):
        await turns.run(lambda: 1 // 0, 0.0)
    assert await turns.run(lambda: 1, 0.0) == 1
    turns.close()
