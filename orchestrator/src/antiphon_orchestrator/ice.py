"""STUN and TURN servers, as they are told to a caller."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

from pipecat.transports.smallwebrtc.connection import IceServer

# An allocation is refreshed with the credential that it was made with: longer than any call.
TTL_S = 12 * 3600


class IceServers:
    """The servers at `urls`. Those that relay (turn:, turns:) get a credential that expires, when there is a secret.

    The credential is that of coturn's `use-auth-secret`: draft-uberti-behave-turn-rest-00, section 2.2.
    """

    def __init__(
        self, urls: Sequence[str], secret: bytes | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._urls = urls
        self._secret = secret
        self._clock = clock

    def now(self) -> list[IceServer]:
        return [self._server(url) for url in self._urls]

    def _server(self, url: str) -> IceServer:
        if self._secret is None or not url.startswith(("turn:", "turns:")):
            return IceServer(urls=url)
        username = str(int(self._clock() + TTL_S))
        digest = hmac.digest(self._secret, username.encode(), hashlib.sha1)
        return IceServer(urls=url, username=username, credential=base64.b64encode(digest).decode())


def as_json(servers: Sequence[IceServer]) -> list[dict[str, object]]:
    """What a browser's RTCPeerConnection takes as `iceServers`."""
    return [
        {name: value for name in ("urls", "username", "credential") if (value := getattr(server, name))}
        for server in servers
    ]
