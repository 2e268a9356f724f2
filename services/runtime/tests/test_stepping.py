"""What engines on a thread of their own share."""

import asyncio
import os

import pytest

from antiphon_runtime.stepping import RealTimeFactor, Stepper, deliver, host_bytes, started


def test_the_real_time_factor_forgets_what_is_long_past() -> None:
    factor = RealTimeFactor()
    assert factor.add(10.0, 1.0, 2.0) == 0.5
    assert factor.add(1000.0, 1.0, 10.0) == pytest.approx(0.1)


def test_a_thread_works_once_it_is_warm_and_says_why_it_is_not() -> None:
    order: list[str] = []
    started("test", lambda: order.append("warm"), lambda: order.append("work")).join()
    assert order == ["warm", "work"]
    with pytest.raises(ValueError, match="cold"):
        started("test", lambda: (_ for _ in ()).throw(ValueError("cold")), lambda: order.append("never"))
    assert order == ["warm", "work"]


async def test_a_delivery_that_fails_does_not_keep_the_others_back() -> None:
    told: list[int] = []
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(deliver, loop, [lambda: told.append(1), lambda: told[9], lambda: told.append(2)])
    await asyncio.sleep(0)
    assert told == [1, 2]


def test_what_comes_after_the_end_of_the_loop_is_nobodys() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    deliver(loop, [lambda: pytest.fail("told")])
    deliver(None, [lambda: pytest.fail("told")])


def test_the_hosts_memory_is_some_of_what_it_has() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < host_bytes() <= whole


async def test_a_stepper_works_until_it_is_closed_and_delivers_on_the_loop_that_it_was_told_on() -> None:
    heard: list[str] = []
    arrived = asyncio.Event()

    class Counting(Stepper):
        def __init__(self) -> None:
            super().__init__()
            self.todo = 3

        def begin(self) -> None:
            self._tell_on_this_loop(lambda: heard.append("lost"))
            self._start("test", lambda: heard.append("warm"), self._work)

        def _work(self) -> None:
            with self._lock:
                while not self._closing:
                    if self.todo:
                        self.todo -= 1
                        self._deliver([lambda: heard.append("step")])
                    else:
                        self._deliver([arrived.set])
                        self._lock.wait()
            self._deliver([self._on_lost])

    stepper = Counting()
    stepper.begin()
    await arrived.wait()
    assert heard == ["warm", "step", "step", "step"]
    await asyncio.to_thread(stepper.close)
    await asyncio.sleep(0)
    assert heard[-1] == "lost"
