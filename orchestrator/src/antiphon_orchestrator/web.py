"""HTTP: the WebSocket that callers use, the page and its WebRTC, the sessions' timelines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

from antiphon_runtime.auth import read_secret
from antiphon_runtime.errors import Unauthenticated

from .gate import ForeignOrigin, Gate
from .ice import IceServers
from .page import page_routes
from .session import INPUT_RATE_HZ
from .sessions import Draining, Full, Sessions, UnknownAgent
from .settings import Settings
from .webrtc import WebRtcCalls
from .wire import CallerFrames

REFUSALS: dict[type[Exception], int] = {
    Unauthenticated: 401,
    ForeignOrigin: 403,
    UnknownAgent: 404,
    Full: 503,
    Draining: 503,
}


def create_app(settings: Settings, sessions: Sessions, gate: Gate) -> FastAPI:
    """The app. What it serves is in `sessions`; ending it hangs up every call.

    Raises ConfigError when the relay's secret cannot be read.
    """
    secret = read_secret(settings.relay_secret_file) if settings.relay_secret_file else None
    webrtc = WebRtcCalls(sessions, IceServers(settings.ice_servers, secret), settings.offer_within_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with webrtc.accepting():
            yield
            await sessions.hang_up()

    app = FastAPI(title="Antiphon", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    for kind, status in REFUSALS.items():
        app.add_exception_handler(kind, _refused(status))

    def admitted(request: Request) -> None:
        gate.check(request)

    app.include_router(_calls(sessions, gate))
    app.include_router(_timelines(sessions), dependencies=[Depends(admitted)])
    app.include_router(webrtc.routes(), dependencies=[Depends(admitted)])
    app.include_router(page_routes(gate))
    return app


def _refused(status: int):  # type: ignore[no-untyped-def]
    async def handler(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"reason": type(error).__name__, "message": str(error)}, status_code=status)

    return handler


def _calls(sessions: Sessions, gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.websocket("/ws")
    async def call(websocket: WebSocket, agent: str = "") -> None:
        try:
            gate.check(websocket)
            sessions.check(agent)
        except tuple(REFUSALS) as error:
            body = {"reason": type(error).__name__, "message": str(error)}
            await websocket.send_denial_response(JSONResponse(body, status_code=REFUSALS[type(error)]))
            return
        async with sessions.admitted(agent) as session:
            await websocket.accept()
            params = FastAPIWebsocketParams(
                audio_in_enabled=True,
                audio_out_enabled=True,
                audio_out_10ms_chunks=2,
                audio_out_filter=session.playout,
                serializer=CallerFrames(INPUT_RATE_HZ, sessions.open_door(session)),
                allowed_origins=[],
            )
            await sessions.run(session, FastAPIWebsocketTransport(websocket, params))

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        """Report readiness for new calls; 503 once the process has been told to stop."""
        status = "draining" if sessions.draining else "ok"
        return JSONResponse({"status": status, "sessions": sessions.active}, 503 if sessions.draining else 200)

    @router.get("/livez")
    async def livez() -> dict[str, object]:
        """Report that the process is alive, draining or not."""
        return {"status": "ok"}

    return router


def _timelines(sessions: Sessions) -> APIRouter:
    router = APIRouter()

    @router.get("/api/agents")
    async def agents() -> dict[str, object]:
        return {"default": sessions.agents.default, "agents": sessions.agents.names}

    @router.get("/api/sessions/{session_id}")
    async def timeline(session_id: str) -> JSONResponse:
        session = sessions.find(session_id)
        if session is None:
            raise HTTPException(404, f"no session {session_id}")
        return JSONResponse(session.to_json())

    @router.get("/api/traces/{trace_id}")
    async def of_a_trace(trace_id: str) -> JSONResponse:
        session = sessions.find_trace(trace_id)
        if session is None:
            raise HTTPException(404, f"no turn of the trace {trace_id}")
        return JSONResponse(session.to_json())

    return router
