"""Media that an offer may have: what Pipecat does not read would be decoded for nobody."""

import pytest
from aiortc import RTCPeerConnection
from web import web
from webrtc_caller import refused, started


async def offered(*kinds: str) -> str:
    peer = RTCPeerConnection()
    for kind in kinds:
        if kind == "application":
            peer.createDataChannel("signalling")
        else:
            peer.addTransceiver(kind)
    await peer.setLocalDescription(await peer.createOffer())
    sdp = str(peer.localDescription.sdp)
    await peer.close()
    return sdp


@pytest.mark.parametrize(
    "kinds",
    [
        ("video", "audio"),
        ("application",),
        ("audio", "audio"),
        ("audio", "video", "video", "video"),
        ("audio", *["video"] * 30),
    ],
)
async def test_other_media_than_are_read_are_refused(kinds: tuple[str, ...]) -> None:
    async with web() as at:
        offer = {"type": "offer", "sdp": await offered(*kinds)}
        status, said = await refused(at, await started(at), json=offer)
        assert status == 400 and "at most 1 audio, 2 video and 1 application are allowed" in said
        assert at.sessions.active == 0


async def test_an_offer_of_a_browser_with_camera_and_screen_is_taken() -> None:
    async with web() as at:
        offer = {"type": "offer", "sdp": await offered("audio", "video", "video", "application")}
        assert (await at.http.post(await started(at), json=offer)).status_code == 200
