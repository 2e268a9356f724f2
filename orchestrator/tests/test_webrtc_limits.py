"""Calls over WebRTC that are not offered or not connected in time, or are too many."""

from own_bot import settles
from web import web
from webrtc_caller import bare, caller, connect, limits, refused, started

from antiphon_orchestrator.started_calls import MAX_STARTED
from antiphon_runtime.testing import ManualTimers, manual_timers

# Fired by the test.
OFFER_WITHIN_S = 2000.0


async def test_started_calls_that_never_make_an_offer_are_forgotten() -> None:
    async with web() as at, caller() as (_, offer):
        first, second = await started(at), await started(at)
        for _ in range(MAX_STARTED - 1):
            await started(at)
        assert (await refused(at, first, json=offer))[0] == 404
        assert (await at.http.post(second, json=offer)).status_code == 200


async def test_a_call_that_is_not_offered_in_time_is_forgotten_and_counted() -> None:
    async with web(offer_within_s=0.1) as at, caller() as (_, offer):
        path = await started(at)
        await settles(lambda: limits(at, "offer") == 1)
        status, said = await refused(at, path, json=offer)
        assert status == 404 and "its time for an offer is over" in said
        assert at.sessions.active == 0


async def test_an_offer_that_fails_leaves_the_call_the_rest_of_its_time_and_no_more() -> None:
    with manual_timers() as timers:
        async with web(offer_within_s=OFFER_WITHIN_S) as at, caller() as (_, offer):
            path = await started(at)
            (first,) = timers.running
            assert (await refused(at, path, json={"type": "offer", "sdp": "nonsense"}))[0] == 400
            assert timers.running == [first]
            assert (await refused(at, path, json={**offer, "sdp": bare(offer)}))[0] == 400
            (rest,) = timers.running
            assert rest is not first and rest.handle.when() == first.handle.when()
            assert limits(at, "offer") == 0
            timers.fire()
            assert limits(at, "offer") == 1 and not timers.running
            assert (await refused(at, path, json=offer))[0] == 404


async def test_an_offer_that_never_becomes_a_connection_gives_its_place_back() -> None:
    with manual_timers() as timers:
        async with web(offer_within_s=OFFER_WITHIN_S) as at, caller() as (_, offer):
            assert (await at.http.post(await started(at), json=offer)).status_code == 200  # the answer is not read
            await settles(lambda: at.sessions.active == 1)
            assert limits(at, "offer") == 0
            timers.fire()
            await settles(lambda: at.sessions.active == 0)
            assert limits(at, "offer") == 1 and at.sample("antiphon_sessions_ended_total", reason="caller") == 1


async def test_a_connected_call_has_no_such_limit() -> None:
    with manual_timers() as timers:
        async with web(offer_within_s=OFFER_WITHIN_S) as at, caller() as (peer, offer):
            path, pc_id = await connect(at, peer, offer)
            await connected(timers)
            timers.fire()
            assert limits(at, "offer") == 0 and not timers.running
            patch = {"pc_id": pc_id, "candidates": []}
            assert (await at.http.patch(path, json=patch)).status_code == 200
            assert at.sessions.active == 1


async def connected(timers: ManualTimers) -> None:
    """Returns when the connection that the running timer is about is made, as the server sees it."""
    (timer,) = timers.running
    _, connection = timer.args
    await settles(lambda: connection.pc.connectionState == "connected")


async def test_too_many_started_calls_are_counted() -> None:
    async with web() as at:
        for _ in range(MAX_STARTED + 2):
            await started(at)
        assert limits(at, "started") == 2


async def test_a_restart_that_never_becomes_a_connection_has_its_time_too() -> None:
    with manual_timers() as timers:
        async with (
            web(offer_within_s=OFFER_WITHIN_S) as at,
            caller() as (peer, offer),
            caller() as (_, again),
        ):
            path, pc_id = await connect(at, peer, offer)
            await connected(timers)
            timers.fire()  # the first connection's time is over
            body = {**again, "pc_id": pc_id, "restart_pc": True}
            assert (await at.http.post(path, json=body)).status_code == 200  # the answer is not read
            assert (at.sessions.active, limits(at, "offer")) == (1, 0)
            assert timers.lengths_s == [OFFER_WITHIN_S]
            timers.fire()
            await settles(lambda: limits(at, "offer") == 1 and at.sessions.active == 0)
