import time

import pytest
from starlette.requests import HTTPConnection

from antiphon_orchestrator.gate import AUDIENCE, COOKIE, ForeignOrigin, Gate
from antiphon_runtime.auth import Issuer, Verifier
from antiphon_runtime.errors import Unauthenticated

SECRET = b"a secret of at least thirty-two bytes"
HOST = "agent.example:7860"


def token(secret: bytes = SECRET, audience: str = AUDIENCE, age_s: float = 0.0) -> str:
    return Issuer(secret, audience, ttl_s=3600, clock=lambda: time.time() - age_s).token("someone")


def connection(query: str = "", **headers: str) -> HTTPConnection:
    sent = {"host": HOST, **headers}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    return HTTPConnection({"type": "http", "path": "/", "query_string": query.encode(), "headers": raw})


@pytest.fixture
def gate() -> Gate:
    return Gate(Verifier(SECRET, AUDIENCE), ["https://our.example"])


@pytest.mark.parametrize(
    "shown",
    [
        connection(authorization=f"Bearer {token()}"),
        connection(authorization=f"bearer {token()}"),
        connection(query=f"token={token()}"),
        connection(cookie=f"{COOKIE}={token()}"),
    ],
    ids=["header", "lower case", "query", "cookie"],
)
def test_a_valid_token_is_let_in_wherever_it_is_shown(gate: Gate, shown: HTTPConnection) -> None:
    gate.check(shown)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ("", "TOKEN_MISSING"),
        ("nonsense", "TOKEN_INVALID"),
        (token(b"another one of thirty-two bytes or more"), "TOKEN_INVALID"),
        (token(audience="antiphon.asr.v1.AsrService"), "TOKEN_INVALID"),
        (token(age_s=7200), "TOKEN_EXPIRED"),
    ],
    ids=["missing", "nonsense", "other secret", "other audience", "expired"],
)
def test_without_a_valid_token_nobody_is_let_in(gate: Gate, shown: str, reason: str) -> None:
    for attempt in (
        connection(query=f"token={shown}"),
        connection(cookie=f"{COOKIE}={shown}"),
        connection(authorization=f"Bearer {shown}"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            gate.check(attempt)
        assert caught.value.reason == reason


def test_a_header_outweighs_the_rest(gate: Gate) -> None:
    with pytest.raises(Unauthenticated):
        gate.check(connection(query=f"token={token()}", authorization="Bearer nonsense"))


def test_another_scheme_is_no_token(gate: Gate) -> None:
    with pytest.raises(Unauthenticated):
        gate.check(connection(authorization=f"Basic {token()}"))


def test_where_no_token_is_demanded_anyone_is_let_in() -> None:
    Gate().check(connection())


@pytest.mark.parametrize("origin", [f"http://{HOST}", f"https://{HOST}", "https://our.example"])
def test_our_own_pages_and_those_allowed_may_call(gate: Gate, origin: str) -> None:
    gate.check(connection(query=f"token={token()}", origin=origin))


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://our.example",  # allowed with https only
        "https://our.example.evil.example",
        f"http://{HOST}.evil.example",
        "http://agent.example",  # another port
        "null",
    ],
)
def test_foreign_pages_may_not_call_even_with_a_token(gate: Gate, origin: str) -> None:
    with pytest.raises(ForeignOrigin, match="ALLOWED_ORIGINS"):
        gate.check(connection(query=f"token={token()}", origin=origin))


def test_foreign_pages_may_not_call_where_no_token_is_demanded() -> None:
    with pytest.raises(ForeignOrigin):
        Gate().check(connection(origin="https://evil.example"))


@pytest.mark.parametrize("host", ["evil.example:7860", "evil.example", "192.0.2.7:7860"])
def test_a_page_under_a_foreign_name_for_this_machine_may_not_call(host: str) -> None:
    rebound = connection(host=host, origin=f"http://{host}")
    Gate().check(rebound)  # what a token or a network guards may have any name
    with pytest.raises(ForeignOrigin, match="loopback"):
        Gate(loopback_only=True).check(rebound)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_a_page_under_a_loopback_name_may_call(host: str) -> None:
    Gate(loopback_only=True).check(connection(host=host, origin=f"http://{host}"))


def test_only_a_valid_token_becomes_a_cookie(gate: Gate) -> None:
    good = token()
    assert gate.cookie(connection(query=f"token={good}")) == good
    assert gate.cookie(connection(query="token=nonsense")) is None
    assert gate.cookie(connection(query=f"token={token(age_s=7200)}")) is None
    assert gate.cookie(connection(cookie=f"{COOKIE}={good}")) is None
    assert gate.cookie(connection()) is None
    assert Gate().cookie(connection(query=f"token={good}")) is None
