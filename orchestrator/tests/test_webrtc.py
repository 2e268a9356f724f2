"""The signalling of calls over WebRTC."""

import pytest
from aiortc import RTCSessionDescription
from own_bot import settles
from web import web
from webrtc_caller import caller, refused, started

from antiphon_orchestrator.webrtc import MAX_BODY_BYTES


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


async def test_status_says_that_calls_can_be_made() -> None:
    async with web() as at:
        assert (await at.http.get("/status")).json() == {"status": "ready", "transports": ["webrtc"]}


async def test_a_body_that_is_too_long_or_too_deep_is_refused() -> None:
    async with web() as at:
        long = await at.http.post("/start", content=b'"' + bytes(MAX_BODY_BYTES))
        assert long.status_code == 413 and str(MAX_BODY_BYTES) in long.json()["detail"]
        assert (await at.http.post("/start", content=b"[" * 100_000)).status_code == 400
