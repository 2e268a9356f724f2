"""Peer connections of callers: made, made anew, closed."""

import asyncio
from typing import Any

import pytest
from aiortc import RTCSessionDescription
from own_bot import settles
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest
from web import web
from webrtc_caller import bare, caller, connect, limits, refused, started

from antiphon_orchestrator import connection as connection_module
from antiphon_orchestrator.connection import CallerConnection, CallerRequests
from antiphon_orchestrator.turns.playout import Playout


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


async def test_a_message_that_cannot_be_taken_is_not_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str | bytes] = []
    connection = CallerConnection()

    class Breaks:
        async def admit(self, data: str | bytes, *, signalling: bool) -> None:
            seen.append(data)
            if data == "first":
                raise RuntimeError("the door")

    connection._connected.set()
    async with connection.leading_to(Breaks(), Playout()):  # type: ignore[arg-type]
        for message in ("first", "second"):
            connection._on_message(message)
        await settles(lambda: seen == ["first", "second"])
    assert "could not be taken" in caplog.text
    await connection.disconnect()
