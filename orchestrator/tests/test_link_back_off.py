"""Redial back-off of a stream that ends again and again, on a clock of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from antiphon_orchestrator.services.link import STEADY_S, Clock, Link


class Virtual(Clock):
    """Time passes when somebody sleeps, or a stream lasts."""

    def __init__(self) -> None:
        self.s = 0.0

    def now_s(self) -> float:
        return self.s

    async def sleep(self, seconds: float) -> None:
        self.s += seconds
        await asyncio.sleep(0)


class Dying:
    """A stream that gives its events, lasts a while, and ends."""

    address = "somewhere:1"

    def __init__(self, clock: Virtual, events: int, lasts_s: float) -> None:
        self._clock, self._events, self._lasts_s = clock, events, lasts_s

    async def __aiter__(self) -> AsyncIterator[str]:
        for _ in range(self._events):
            yield "event"
        await self._clock.sleep(self._lasts_s)

    async def write(self, _: Any) -> None:
        pass

    def cancel(self) -> None:
        pass


class Service:
    """Replicas whose streams all end alike. Notes when each was opened, until there were enough of them."""

    def __init__(self, events: int, lasts_s: float, until_s: float, most: int) -> None:
        self.clock = Virtual()
        self._most = most
        self.opened_s: list[float] = []
        self._stream = events, lasts_s
        self._until_s = until_s

    async def open(self, *_: Any, **__: Any) -> Dying:
        if self.clock.s >= self._until_s or len(self.opened_s) >= self._most:
            raise asyncio.CancelledError
        self.opened_s.append(self.clock.s)
        return Dying(self.clock, *self._stream)


async def dialled(
    events: int, lasts_s: float, until_s: float, *, leaves: bool = False, most: int = 1000
) -> list[float]:
    service = Service(events, lasts_s, until_s, most)

    def on_open(_: Any) -> Sequence[Any]:
        return []

    async def nothing(*_: Any) -> None:
        pass

    async def on_event(_: Any) -> None:
        if leaves:
            link.abandon()

    link = Link(service, None, on_open=on_open, on_event=on_event, on_lost=nothing, clock=service.clock)  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await link.run()
    return service.opened_s


@pytest.mark.parametrize("events", [0, 3])
async def test_a_stream_that_ends_at_once_is_dialled_ever_less_often(events: int) -> None:
    opened_s = await dialled(events, 0.0, until_s=60.0)
    assert opened_s[:2] == [0.0, 0.0]  # the first loss may be anybody's
    assert len([at for at in opened_s if at < 5.0]) <= 12
    waits = [after - before for before, after in pairwise(opened_s[5:])]
    assert all(1.0 <= wait <= 2.0 for wait in waits[1:])


async def test_a_stream_that_never_says_anything_is_dialled_ever_less_often_however_long_it_lasts() -> None:
    opened_s = await dialled(0, STEADY_S, until_s=60.0)
    assert opened_s[-1] - opened_s[-2] >= STEADY_S + 1.0


async def test_a_stream_that_was_good_is_dialled_again_at_once_each_time() -> None:
    opened_s = await dialled(1, STEADY_S, until_s=20.0)
    assert opened_s == [STEADY_S * number for number in range(10)]


async def test_a_service_that_is_away_for_hours_is_dialled_still() -> None:
    opened_s = await dialled(0, 0.0, until_s=1e6, most=1100)
    assert len(opened_s) == 1100 and 1.0 <= opened_s[-1] - opened_s[-2] <= 2.0


async def test_a_stream_that_we_leave_as_soon_as_it_is_open_is_dialled_ever_less_often() -> None:
    opened_s = await dialled(1, 0.0, until_s=60.0, leaves=True)
    assert opened_s[:2] == [0.0, 0.0]
    waits = [after - before for before, after in pairwise(opened_s[5:])]
    assert waits and all(1.0 <= wait <= 2.0 for wait in waits[1:])


async def test_a_stream_that_we_leave_after_a_while_is_dialled_again_at_once() -> None:
    opened_s = await dialled(1, STEADY_S, until_s=20.0, leaves=True)
    assert opened_s == [STEADY_S * number for number in range(10)]
