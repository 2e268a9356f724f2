import pytest
from web import web

from antiphon_orchestrator.gate import AUDIENCE, COOKIE, Gate
from antiphon_runtime.auth import Issuer, Verifier

SECRET = b"a secret of at least thirty-two bytes"


@pytest.fixture
def gate() -> Gate:
    return Gate(Verifier(SECRET, AUDIENCE))


@pytest.mark.parametrize("path", ["/", "/client/"])
async def test_the_pages_are_served_to_anyone(gate: Gate, path: str) -> None:
    async with web(gate) as at:
        response = await at.http.get(path)
        assert response.status_code == 200 and "<html" in response.text
        assert "set-cookie" not in response.headers


async def test_the_clients_address_without_its_slash_leads_to_it_and_keeps_the_token() -> None:
    async with web() as at:
        assert (await at.http.get("/client")).headers["location"] == "/client/"
        assert (await at.http.get("/client?token=x")).headers["location"] == "/client/?token=x"


@pytest.mark.parametrize("path", ["/", "/client/"])
async def test_a_valid_token_becomes_a_cookie_that_only_the_page_can_send(gate: Gate, path: str) -> None:
    token = Issuer(SECRET, AUDIENCE).token()
    async with web(gate) as at:
        cookie = (await at.http.get(path, params={"token": token})).headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}={token};")
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
        assert (await at.http.get("/api/agents")).status_code == 200  # the client keeps cookies


async def test_over_https_the_cookie_is_for_https_only(gate: Gate) -> None:
    token = Issuer(SECRET, AUDIENCE).token()
    async with web(gate) as at:
        response = await at.http.get("https://test/", params={"token": token})
        assert "Secure" in response.headers["set-cookie"]


async def test_a_token_that_is_not_valid_becomes_no_cookie(gate: Gate) -> None:
    async with web(gate) as at:
        assert "set-cookie" not in (await at.http.get("/", params={"token": "nonsense"})).headers
        assert (await at.http.get("/api/agents")).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/%2e%2e/__init__.py",
        "/..%2f__init__.py",
        "/static/..%2f..%2fsettings.py",
        "/%2fetc%2fpasswd",
        "/client/..%2f..%2f__init__.py",
        "/client/%2fetc%2fpasswd",
    ],
)
async def test_files_outside_of_the_pages_are_not_served(path: str) -> None:
    async with web() as at:
        response = await at.http.get(path)
        assert (response.status_code, response.content) == (404, b"")


@pytest.mark.parametrize("path", ["/nothing.js", "/client/nothing.js", "/%00", f"/{'x' * 5000}", "/client/assets"])
async def test_what_is_no_file_is_not_found(path: str) -> None:
    async with web() as at:
        assert (await at.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/agents"),
        ("GET", "/api/sessions/x"),
        ("GET", "/status"),
        ("POST", "/start"),
        ("POST", "/sessions/x/api/offer"),
        ("PATCH", "/sessions/x/api/offer"),
    ],
)
async def test_everything_but_the_page_and_health_needs_a_token_and_no_foreign_page(
    gate: Gate, method: str, path: str
) -> None:
    async with web(gate) as at:
        response = await at.http.request(method, path)
        assert (response.status_code, response.json()["reason"]) == (401, "Unauthenticated")
        response = await at.http.request(method, path, headers={"origin": "https://evil.example"})
        assert (response.status_code, response.json()["reason"]) == (403, "ForeignOrigin")
        assert (await at.http.get("/healthz")).status_code == 200
