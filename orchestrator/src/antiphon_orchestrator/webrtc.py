"""Calls over WebRTC, as Pipecat's web client makes them: /start, then an offer."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import IceServer, SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import (
    IceCandidate,
    SmallWebRTCPatchRequest,
    SmallWebRTCRequest,
    SmallWebRTCRequestHandler,
)
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport

from .sessions import Full, Sessions

log = logging.getLogger(__name__)

# Started calls that have not made their offer yet; the oldest is forgotten when there are more.
MAX_STARTED = 64


class WebRtcCalls:
    """The signalling. Each call runs in a task of its own while `accepting` lasts."""

    def __init__(self, sessions: Sessions, ice_servers: Sequence[str] = ()) -> None:
        self._sessions = sessions
        self._ice_servers = [IceServer(urls=url) for url in ice_servers]
        self._handler = SmallWebRTCRequestHandler(ice_servers=self._ice_servers)
        self._started: OrderedDict[str, str] = OrderedDict()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def accepting(self) -> AsyncIterator[None]:
        """Calls may come while the context lasts; at its end they must have been hung up."""
        async with asyncio.TaskGroup() as self._tasks:
            yield
            await self._handler.close()

    def routes(self) -> APIRouter:
        router = APIRouter()
        router.add_api_route("/status", self._status, methods=["GET"])
        router.add_api_route("/start", self._start, methods=["POST"])
        router.add_api_route("/sessions/{session_id}/api/offer", self._offer, methods=["POST"])
        router.add_api_route("/sessions/{session_id}/api/offer", self._candidates, methods=["PATCH"])
        return router

    async def _status(self) -> dict[str, Any]:
        return {"status": "ready", "transports": ["webrtc"]}

    async def _start(self, request: Request) -> dict[str, Any]:
        body = await _json(request)
        options = body.get("body") or {}
        agent = str(options.get("agent", "")) if isinstance(options, dict) else ""
        self._sessions.check(agent)
        session_id = uuid.uuid4().hex
        self._started[session_id] = agent
        if len(self._started) > MAX_STARTED:
            self._started.popitem(last=False)
        servers = [{"urls": server.urls} for server in self._ice_servers]
        return {"sessionId": session_id, "iceConfig": {"iceServers": servers}}

    async def _offer(self, session_id: str, request: Request) -> Any:
        body = await _json(request)
        if session_id not in self._started and self._sessions.find(session_id) is None:
            raise HTTPException(404, f"no call {session_id} was started")
        try:
            offer = SmallWebRTCRequest(
                sdp=body["sdp"], type=body["type"], pc_id=body.get("pc_id"), restart_pc=body.get("restart_pc")
            )
        except KeyError as error:
            raise HTTPException(400, f"the offer lacks {error}") from error

        async def connected(connection: SmallWebRTCConnection) -> None:
            agent = self._started.pop(session_id, "")
            if self._tasks:
                self._tasks.create_task(self._call(session_id, agent, connection), name=f"call {session_id}")

        if session_id in self._started:
            self._sessions.check(self._started[session_id])
        return await self._handler.handle_web_request(offer, connected)

    async def _candidates(self, session_id: str, request: Request) -> dict[str, str]:
        body = await _json(request)
        try:
            candidates = [IceCandidate(**candidate) for candidate in body.get("candidates", [])]
            patch = SmallWebRTCPatchRequest(pc_id=body["pc_id"], candidates=candidates)
        except (KeyError, TypeError) as error:
            raise HTTPException(400, f"the candidates of {session_id} are malformed: {error}") from error
        await self._handler.handle_patch_request(patch)
        return {"status": "success"}

    async def _call(self, session_id: str, agent: str, connection: SmallWebRTCConnection) -> None:
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True, audio_out_10ms_chunks=2)
        try:
            async with self._sessions.admitted(agent, session_id) as session:
                await self._sessions.run(session, SmallWebRTCTransport(connection, params))
        except Full as error:
            log.warning("call %s: %s", session_id, error)
        except Exception:
            log.exception("call %s failed", session_id)  # the other calls go on
        finally:
            await connection.disconnect()


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return body
