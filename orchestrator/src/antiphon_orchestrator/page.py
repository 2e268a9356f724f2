"""Pipecat's prebuilt web client, served at /."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from .gate import COOKIE, Gate


def page_routes(gate: Gate) -> APIRouter:
    """The page. Opened with ?token=…, it keeps the token in a cookie that only it can send."""
    root = Path(str(files("pipecat_ai_prebuilt"))) / "client" / "dist"
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        response = FileResponse(root / "index.html")
        if token := gate.cookie(request):
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
        return response

    @router.get("/{path:path}", include_in_schema=False)
    async def asset(path: str) -> Response:
        target = (root / path).resolve()
        if not target.is_relative_to(root.resolve()) or not target.is_file():
            return Response(status_code=404)
        return FileResponse(target)

    return router
