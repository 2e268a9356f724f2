"""Callers over WebRTC, and the requests that they make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiortc import RTCPeerConnection, RTCSessionDescription
from own_bot import settles
from web import Web


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


def limits(at: Web, limit: str) -> float:
    return at.sample("antiphon_limits_reached_total", limit=limit)


async def connect(at: Web, peer: RTCPeerConnection, offer: dict[str, str]) -> tuple[str, str]:
    """Make a call. Returns its path and the id of its connection."""
    path = await started(at)
    answer = (await at.http.post(path, json=offer)).json()
    await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    await settles(lambda: peer.connectionState == "connected")
    return path, answer["pc_id"]


def bare(offer: dict[str, str]) -> str:
    """The offer without ICE credentials, which is found out late."""
    return "\r\n".join(line for line in offer["sdp"].splitlines() if "ice-" not in line) + "\r\n"
