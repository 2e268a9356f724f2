"""HTTP: the WebSocket that callers use, and the sessions' timelines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

from antiphon_runtime.auth import Verifier
from antiphon_runtime.errors import Unauthenticated

from .sessions import Full, Sessions, UnknownAgent
from .settings import Settings

AUDIENCE = "antiphon.session"


class Gate:
    """Who may begin a conversation: anyone, unless tokens are demanded."""

    def __init__(self, verifier: Verifier | None) -> None:
        self._verifier = verifier

    def check(self, authorization: str, token: str) -> None:
        """Raises Unauthenticated without a valid token in either place."""
        if self._verifier:
            self._verifier.verify(authorization or f"Bearer {token}")


def status_of(error: Exception) -> int:
    """The HTTP status of a refused conversation."""
    return {Unauthenticated: 401, UnknownAgent: 404, Full: 503}.get(type(error), 500)


def create_app(settings: Settings, sessions: Sessions, gate: Gate) -> FastAPI:
    """The app. What it serves is in `sessions`; ending it hangs up every call."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await sessions.hang_up()

    app = FastAPI(title="Antiphon", lifespan=lifespan)
    app.include_router(_calls(settings, sessions, gate))
    return app


def _calls(settings: Settings, sessions: Sessions, gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.websocket("/ws")
    async def call(websocket: WebSocket, agent: str = "", token: str = "") -> None:
        try:
            gate.check(websocket.headers.get("authorization", ""), token)
            sessions.check(agent)
        except (Unauthenticated, UnknownAgent, Full) as error:
            body = {"reason": type(error).__name__, "message": str(error)}
            await websocket.send_denial_response(JSONResponse(body, status_code=status_of(error)))
            return
        async with sessions.admitted(agent) as session:
            await websocket.accept()
            params = FastAPIWebsocketParams(
                audio_in_enabled=True,
                audio_out_enabled=True,
                audio_out_10ms_chunks=2,
                serializer=ProtobufFrameSerializer(),
                allowed_origins=[],
            )
            await sessions.run(session, FastAPIWebsocketTransport(websocket, params))

    @router.get("/api/sessions/{session_id}")
    async def timeline(session_id: str, request: Request, token: str = "") -> JSONResponse:
        try:
            gate.check(request.headers.get("authorization", ""), token)
        except Unauthenticated as error:
            raise HTTPException(401, str(error)) from error
        session = sessions.find(session_id)
        if session is None:
            raise HTTPException(404, f"no session {session_id}")
        return JSONResponse(session.to_json())

    @router.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {"status": "ok", "sessions": sessions.active}

    return router
