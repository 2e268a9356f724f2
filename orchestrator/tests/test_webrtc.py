import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from own_bot import settles
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest
from web import Web, web

from antiphon_orchestrator import connection as connection_module
from antiphon_orchestrator.connection import CallerConnection, CallerRequests
from antiphon_orchestrator.started_calls import MAX_STARTED
from antiphon_orchestrator.webrtc import MAX_BODY_BYTES
from antiphon_runtime.testing import ManualTimers, manual_timers

# Fired by the test.
OFFER_WITHIN_S = 2000.0


@asynccontextmanager
async def caller() -> AsyncIterator[tuple[RTCPeerConnection, dict[str, str]]]:
    """A browser's side, and the offer that it makes."""
    peer = RTCPeerConnection()
    peer.addTransceiver("audio")
    peer.createDataChannel("signalling")
    await peer.setLocalDescription(await peer.createOffer())
    try:
        yield peer, {"type": "offer", "sdp": peer.localDescription.sdp}
    finally:
        await peer.close()


async def started(at: Web, **options: str) -> str:
    """The path of a call that has been started."""
    response = await at.http.post("/start", json={"body": options} if options else {})
    assert response.status_code == 200
    return f"/sessions/{response.json()['sessionId']}/api/offer"


async def refused(at: Web, path: str, method: str = "POST", **request: object) -> tuple[int, str]:
    response = await at.http.request(method, path, **request)  # type: ignore[arg-type]
    body = response.json()
    return response.status_code, body.get("detail") or body["message"]


async def test_a_call_is_started_offered_answered_and_hung_up() -> None:
    async with web() as at, caller() as (peer, offer):
        path = await started(at, agent="bob")
        answer = (await at.http.post(path, json=offer)).json()
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await settles(lambda: peer.connectionState == "connected")
        session = at.sessions.find(path.split("/")[2])
        assert session and session.agent_name == "bob" and at.sessions.active == 1
        await peer.close()
        await settles(lambda: at.sessions.active == 0)


async def test_calls_under_way_are_hung_up_when_the_server_ends() -> None:
    async with caller() as (peer, offer):
        async with web() as at:
            answer = (await at.http.post(await started(at), json=offer)).json()
            await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
            await settles(lambda: peer.connectionState == "connected" and at.sessions.active == 1)
        assert at.sessions.active == 0


@pytest.mark.parametrize("path", ["/start", "/sessions/x/api/offer"])
async def test_what_is_not_json_is_refused(path: str) -> None:
    async with web() as at:
        assert await refused(at, path, content=b"{") == (400, "the body is not JSON")
        assert await refused(at, path, content=b"\xff") == (400, "the body is not JSON")
        assert await refused(at, path, json=[1]) == (400, "the body is not a JSON object")


async def test_an_unknown_agent_is_refused() -> None:
    async with web() as at:
        status, said = await refused(at, "/start", json={"body": {"agent": "eve"}})
        assert (status, said) == (404, "no agent 'eve': there are ava, bob")


@pytest.mark.parametrize("body", [{}, {"body": None}, {"body": "words"}, {"body": {"agent": None}}])
async def test_a_start_without_an_agent_is_the_default_agents(body: dict[str, object]) -> None:
    async with web() as at:
        assert (await at.http.post("/start", json=body)).status_code == 200


async def test_no_call_is_started_while_all_places_are_taken() -> None:
    async with web(limit=1) as at, at.sessions.admitted(""):
        assert await refused(at, "/start", json={}) == (503, "all 1 conversations are taken")


async def test_a_place_that_was_taken_since_the_start_is_missed_at_the_offer_and_may_come_free() -> None:
    async with web(limit=1) as at, caller() as (_, offer):
        path = await started(at)
        async with at.sessions.admitted(""):
            assert await refused(at, path, json=offer) == (503, "all 1 conversations are taken")
        assert (await at.http.post(path, json=offer)).status_code == 200


async def test_an_offer_for_no_call_is_refused() -> None:
    async with web() as at, caller() as (_, offer):
        status, said = await refused(at, "/sessions/none/api/offer", json=offer)
        assert status == 404 and "no call none was started" in said


@pytest.mark.parametrize(
    "change",
    [
        {"sdp": None},
        {"sdp": 7},
        {"sdp": ""},
        {"sdp": "nonsense"},
        {"sdp": "v=0\r\nm=audio x\r\n"},
        {"type": None},
        {"type": "answer"},
        {"pc_id": 7},
    ],
    ids=str,
)
async def test_a_malformed_offer_is_refused_and_the_call_can_still_be_made(change: dict[str, object]) -> None:
    async with web() as at, caller() as (_, offer):
        path = await started(at)
        status, said = await refused(at, path, json={**offer, **change})
        assert status == 400 and "offer" in said
        assert at.sessions.active == 0
        assert (await at.http.post(path, json=offer)).status_code == 200


async def test_an_offer_without_ice_credentials_is_refused() -> None:
    async with web() as at, caller() as (_, offer):
        bare = "\r\n".join(line for line in offer["sdp"].splitlines() if "ice-" not in line) + "\r\n"
        status, said = await refused(at, await started(at), json={**offer, "sdp": bare})
        assert status == 400 and "ICE" in said


async def test_a_call_is_offered_once() -> None:
    async with web() as at, caller() as (_, offer), caller() as (_, another):
        path = await started(at)
        answer = (await at.http.post(path, json=offer)).json()
        for body in (another, {**another, "pc_id": "another's"}):
            assert (await refused(at, path, json=body))[0] == 404
        assert at.sessions.active == 1
        assert answer["pc_id"]


async def test_a_call_that_has_ended_is_not_begun_again() -> None:
    async with web() as at, caller() as (_, offer):
        async with at.sessions.admitted("", "over"):
            pass
        assert (await refused(at, "/sessions/over/api/offer", json=offer))[0] == 404
        assert at.sessions.active == 0


async def test_a_connection_is_changed_by_its_own_call_only() -> None:
    async with web() as at, caller() as (peer, offer), caller() as (_, intruder):
        path, other = await started(at), await started(at)
        answer = (await at.http.post(path, json=offer)).json()
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        stolen = (await at.http.post(other, json={**intruder, "pc_id": answer["pc_id"]})).json()
        assert stolen["pc_id"] != answer["pc_id"]
        patch = {"pc_id": stolen["pc_id"], "candidates": []}
        assert (await refused(at, path, "PATCH", json=patch))[0] == 404
        assert (await at.http.patch(other, json=patch)).json() == {"status": "success"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pc_id": "x", "candidates": ["nonsense"]},
        {"pc_id": "x", "candidates": [{"candidate": "x"}]},
        {"pc_id": "x", "candidates": 7},
    ],
    ids=str,
)
async def test_malformed_candidates_are_refused(body: dict[str, object]) -> None:
    async with web() as at:
        assert (await refused(at, "/sessions/x/api/offer", "PATCH", json=body))[0] == 400


async def test_a_candidate_that_cannot_be_read_is_refused() -> None:
    async with web() as at, caller() as (_, offer):
        path = await started(at)
        answer = (await at.http.post(path, json=offer)).json()
        candidate = {"candidate": "nonsense", "sdp_mid": "0", "sdp_mline_index": 0}
        status, said = await refused(at, path, "PATCH", json={"pc_id": answer["pc_id"], "candidates": [candidate]})
        assert status == 400 and "malformed" in said


async def test_started_calls_that_never_make_an_offer_are_forgotten() -> None:
    async with web() as at, caller() as (_, offer):
        first, second = await started(at), await started(at)
        for _ in range(MAX_STARTED - 1):
            await started(at)
        assert (await refused(at, first, json=offer))[0] == 404
        assert (await at.http.post(second, json=offer)).status_code == 200


async def test_status_says_that_calls_can_be_made() -> None:
    async with web() as at:
        assert (await at.http.get("/status")).json() == {"status": "ready", "transports": ["webrtc"]}


def limits(at: Web, limit: str) -> float:
    return at.sample("antiphon_limits_reached_total", limit=limit)


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


async def test_a_body_that_is_too_long_or_too_deep_is_refused() -> None:
    async with web() as at:
        long = await at.http.post("/start", content=b'"' + bytes(MAX_BODY_BYTES))
        assert long.status_code == 413 and str(MAX_BODY_BYTES) in long.json()["detail"]
        assert (await at.http.post("/start", content=b"[" * 100_000)).status_code == 400


async def connect(at: Web, peer: RTCPeerConnection, offer: dict[str, str]) -> tuple[str, str]:
    """Make a call. Returns its path and the id of its connection."""
    path = await started(at)
    answer = (await at.http.post(path, json=offer)).json()
    await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    await settles(lambda: peer.connectionState == "connected")
    return path, answer["pc_id"]


async def test_of_two_offers_at_once_one_is_answered_and_its_candidates_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both, initialize = asyncio.Barrier(2), CallerConnection.initialize

    async def initialize_together(connection: CallerConnection, **offer: str) -> None:
        await both.wait()
        await initialize(connection, **offer)

    monkeypatch.setattr(CallerConnection, "initialize", initialize_together)
    async with web() as at, caller() as (_, offer), caller() as (_, another):
        path = await started(at)
        responses = await asyncio.gather(*(at.http.post(path, json=body) for body in (offer, another)))
        won, lost = sorted(responses, key=lambda response: response.status_code)
        assert (won.status_code, lost.status_code) == (200, 409)
        patch = {"pc_id": won.json()["pc_id"], "candidates": []}
        assert (await at.http.patch(path, json=patch)).status_code == 200
        assert at.sessions.active == 1


async def test_a_connection_that_cannot_be_closed_is_its_own_calls_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    real = CallerConnection.disconnect

    async def breaks(connection: CallerConnection) -> None:
        await real(connection)
        raise ConnectionError("the socket")

    async with web() as at, caller() as (peer, offer), caller() as (other, its):
        await connect(at, other, its)
        await connect(at, peer, offer)
        with monkeypatch.context() as patched:
            patched.setattr(CallerConnection, "disconnect", breaks)
            await peer.close()
            await settles(lambda: at.sessions.active == 1)
            async with caller() as (third, offered):
                await connect(at, third, offered)
        assert at.sessions.active >= 1 and other.connectionState == "connected"


def bare(offer: dict[str, str]) -> str:
    """The offer without ICE credentials, which is found out late."""
    return "\r\n".join(line for line in offer["sdp"].splitlines() if "ice-" not in line) + "\r\n"


async def test_a_restart_that_fails_ends_the_call() -> None:
    async with web() as at, caller() as (peer, offer), caller() as (_, again):
        path, pc_id = await connect(at, peer, offer)
        body = {"type": "offer", "sdp": bare(again), "pc_id": pc_id, "restart_pc": True}
        assert (await refused(at, path, json=body))[0] == 400
        await settles(lambda: at.sessions.active == 0)
        assert limits(at, "offer") == 0  # it has not waited for a connection


async def test_a_connection_that_cannot_be_made_or_made_anew_is_closed_and_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[CallerConnection] = []

    class Noted(CallerConnection):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            made.append(self)

    async def taken(_: Any) -> None:
        pass

    monkeypatch.setattr(connection_module, "CallerConnection", Noted)
    requests = CallerRequests()
    async with caller() as (_, offer), caller() as (_, again):
        with pytest.raises(ValueError, match="ICE"):
            await requests.handle_web_request(SmallWebRTCRequest(sdp=bare(offer), type="offer"), taken)
        assert made[0].pc.connectionState == "closed"
        answer = await requests.handle_web_request(SmallWebRTCRequest(sdp=offer["sdp"], type="offer"), taken)
        assert answer and list(requests._pcs_map) == [answer["pc_id"]]
        restart = SmallWebRTCRequest(sdp=bare(again), type="offer", pc_id=answer["pc_id"], restart_pc=True)
        with pytest.raises(ValueError, match="ICE"):
            await requests.handle_web_request(restart, taken)
        await settles(lambda: not requests._pcs_map)
        assert made[1].pc.connectionState == "closed"


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


async def test_a_message_that_cannot_be_taken_is_not_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str | bytes] = []
    connection = CallerConnection()

    class Breaks:
        async def admit(self, data: str | bytes, *, signalling: bool) -> None:
            seen.append(data)
            if data == "first":
                raise RuntimeError("the door")

    connection._connected.set()
    async with connection.leading_to(Breaks()):  # type: ignore[arg-type]
        for message in ("first", "second"):
            connection._on_message(message)
        await settles(lambda: seen == ["first", "second"])
    assert "could not be taken" in caplog.text
    await connection.disconnect()
