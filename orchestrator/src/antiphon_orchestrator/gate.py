"""Who may begin a conversation."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from antiphon_runtime.auth import Verifier
from antiphon_runtime.errors import Unauthenticated
from antiphon_runtime.settings import is_loopback

# The audience of session tokens.
AUDIENCE = "antiphon.session"
COOKIE = "antiphon_token"


class ForeignOrigin(Exception):
    """A web page that is not ours tries to call."""


class Gate:
    """Lets in whoever shows a valid token, or anyone when none is demanded; web pages only if they are ours.

    A browser cannot set headers on a WebSocket, so the token may also be the query's `token` or our page's cookie.
    """

    def __init__(
        self, verifier: Verifier | None = None, allowed_origins: Sequence[str] = (), *, loopback_only: bool = False
    ) -> None:
        """`loopback_only`: without tokens, only a page that was reached under a loopback name is ours. A foreign name
        that resolves to this machine (DNS rebinding) would otherwise pass for it."""
        self._verifier = verifier
        self._allowed_origins = frozenset(allowed_origins)
        self._loopback_only = loopback_only and verifier is None

    def check(self, connection: HTTPConnection) -> None:
        """Raises Unauthenticated without a valid token, ForeignOrigin for another site's page."""
        origin = connection.headers.get("origin")
        host = connection.headers.get("host", "")
        if origin and urlsplit(origin).netloc != host and origin not in self._allowed_origins:
            raise ForeignOrigin(f"pages of {origin} may not call: see ANTIPHON_ORCHESTRATOR_ALLOWED_ORIGINS")
        if origin and self._loopback_only and not is_loopback(host if ":" in host else f"{host}:80"):
            raise ForeignOrigin(f"{host} is not a loopback name, and no token is demanded here")
        if self._verifier:
            token = connection.query_params.get("token") or connection.cookies.get(COOKIE, "")
            self._verifier.verify(connection.headers.get("authorization") or f"Bearer {token}")

    def cookie(self, connection: HTTPConnection) -> str | None:
        """The query's token, if it is one that the page may keep."""
        token = connection.query_params.get("token")
        if not self._verifier or not token:
            return None
        try:
            self._verifier.verify(f"Bearer {token}")
        except Unauthenticated:
            return None
        return token
