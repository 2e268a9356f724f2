import base64
import hashlib
import hmac
from pathlib import Path

from web import web

from antiphon_orchestrator.ice import TTL_S, IceServers, as_json

SECRET = b"s" * 32
STUN, TURN = "stun:stun.test:3478", "turn:turn.test:3478?transport=udp"


def test_a_relay_gets_a_credential_that_expires_as_coturn_reckons_it() -> None:
    stun, turn = IceServers((STUN, TURN), SECRET, clock=lambda: 1_000.7).now()
    assert as_json([stun]) == [{"urls": STUN}]
    assert turn.username == str(1_000 + TTL_S)
    expected = hmac.new(SECRET, turn.username.encode(), hashlib.sha1).digest()
    assert as_json([turn]) == [
        {"urls": TURN, "username": turn.username, "credential": base64.b64encode(expected).decode()}
    ]


def test_without_a_secret_a_relay_is_named_as_it_is() -> None:
    assert as_json(IceServers((TURN,)).now()) == [{"urls": TURN}]


async def test_each_start_of_a_call_tells_the_servers(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    async with web(ice_servers=TURN, relay_secret_file=secret) as at:
        told = (await at.http.post("/start", json={})).json()["iceConfig"]["iceServers"]
    assert set(told[0]) == {"urls", "username", "credential"}
