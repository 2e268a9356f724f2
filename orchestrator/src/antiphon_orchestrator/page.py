"""The web page at /, and Pipecat's own client at /client/."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from .gate import COOKIE, Gate

OURS = Path(__file__).with_name("static")


def page_routes(gate: Gate) -> APIRouter:
    """The pages. Opened with ?token=…, they keep the token in a cookie that only they can send."""
    pipecat = Path(str(files("pipecat_ai_prebuilt"))) / "client" / "dist"
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index(request: Request) -> Response:
        return _index(OURS, request, gate)

    @router.get("/client")
    async def to_client(request: Request) -> Response:
        return RedirectResponse(f"/client/?{request.url.query}".rstrip("?"))

    @router.get("/client/")
    async def client(request: Request) -> Response:
        return _index(pipecat, request, gate)

    @router.get("/client/{path:path}")
    async def client_asset(path: str) -> Response:
        return _asset(pipecat, path)

    @router.get("/{path:path}")
    async def asset(path: str) -> Response:
        return _asset(OURS, path)

    return router


def _index(root: Path, request: Request, gate: Gate) -> Response:
    response = FileResponse(root / "index.html")
    if token := gate.cookie(request):
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return response


def _asset(root: Path, path: str) -> Response:
    try:
        target = (root / path).resolve()
        found = target.is_relative_to(root.resolve()) and target.is_file()
    except (OSError, ValueError):  # no file can have this name
        found = False
    return FileResponse(target) if found else Response(status_code=404)
