"""Timers of the event loop that a test fires."""

import asyncio

import pytest

from antiphon_runtime.testing import manual_timers


async def test_a_timer_of_any_kind_fires_when_the_test_says_so() -> None:
    called: list[str] = []
    loop = asyncio.get_running_loop()
    with manual_timers() as timers:
        loop.call_later(1000, called.append, "later")
        timers.fire()
        loop.call_at(loop.time() + 3000, called.append, "at")
        timers.fire()
        sleeping = asyncio.create_task(asyncio.sleep(2000))
        await asyncio.sleep(0)
        assert timers.lengths_s == [2000] and called == ["later", "at"]
        timers.fire()
        await sleeping
    assert timers.running == []


async def test_a_timer_that_was_cancelled_runs_no_more_and_of_two_none_is_guessed() -> None:
    loop = asyncio.get_running_loop()
    with manual_timers() as timers:
        first, second = loop.call_later(1200, pytest.fail), loop.call_later(1300, pytest.fail)
        with pytest.raises(ValueError, match="too many"):
            timers.fire()
        first.cancel()
        assert timers.lengths_s == [1300]
        second.cancel()
        with pytest.raises(ValueError, match="not enough"):
            timers.fire()


async def test_other_timers_are_the_loops() -> None:
    with manual_timers() as timers:
        await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(3540, pytest.fail).cancel()
        assert timers.all == []
    asyncio.get_running_loop().call_later(2000, pytest.fail).cancel()
    assert timers.all == []
