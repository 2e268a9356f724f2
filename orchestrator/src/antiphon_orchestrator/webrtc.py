"""Calls over WebRTC, as Pipecat's web client makes them: /start, then an offer."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiortc.exceptions import InvalidStateError
from aiortc.sdp import SessionDescription
from fastapi import APIRouter, HTTPException, Request
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.request_handler import IceCandidate, SmallWebRTCPatchRequest, SmallWebRTCRequest
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport

from .connection import CallerConnection, CallerRequests
from .ice import IceServers, as_json
from .sessions import Draining, Full, Sessions
from .started_calls import MAX_STARTED, StartedCalls

log = logging.getLogger(__name__)

# Of a request: an offer has tens of kilobytes at most.
MAX_BODY_BYTES = 256 * 1024
# Media of an offer, by kind. Pipecat reads the first audio and switches two videos off; aiortc would decode each
# further one in a thread of its own, for nobody.
MOST_MEDIA = {"audio": 1, "video": 2, "application": 1}


class WebRtcCalls:
    """The signalling. Each call runs in a task of its own while `accepting` lasts.

    A started call has `offer_within_s` to be offered, and then as long to be connected.
    """

    def __init__(self, sessions: Sessions, ice_servers: IceServers, offer_within_s: float = 30.0) -> None:
        self._sessions = sessions
        self._ice_servers = ice_servers
        self._handler = CallerRequests()
        self._offer_within_s = offer_within_s
        self._started = StartedCalls(offer_within_s, self._not_offered, self._forgotten)
        # By session: the peer connection of each call under way, and the time that it has to connect.
        self._connections: dict[str, CallerConnection] = {}
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def accepting(self) -> AsyncIterator[None]:
        """Calls may come while the context lasts; at its end they must have been hung up."""
        async with asyncio.TaskGroup() as self._tasks:
            yield
            self._started.clear()
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
        agent = str(options.get("agent") or "") if isinstance(options, dict) else ""
        self._sessions.check(agent)
        session_id = self._sessions.new_id()
        self._started.add(session_id, agent)
        return {"sessionId": session_id, "iceConfig": {"iceServers": as_json(self._ice_servers.now())}}

    async def _offer(self, session_id: str, request: Request) -> Any:
        offer = _checked_offer(await _json(request))
        if session_id in self._started:
            self._sessions.check(self._started.agent_of(session_id))
            offer.pc_id = None  # whatever it names is another call's
        elif not self._is_connection(session_id, offer.pc_id):
            raise HTTPException(
                404, f"no call {session_id} was started, its time for an offer is over, or it is not this connection's"
            )

        async def connected(connection: CallerConnection) -> None:
            agent = self._started.take(session_id)
            if agent is None or self._tasks is None:
                raise HTTPException(409, f"call {session_id} has been offered already, by another offer than this")
            self._connections[session_id] = connection
            self._tasks.create_task(self._call(session_id, agent, connection), name=f"call {session_id}")

        self._handler.update_ice_servers(self._ice_servers.now())
        try:
            with self._started.being_offered(session_id):
                answer = await self._handler.handle_web_request(offer, connected)
        except (ValueError, InvalidStateError) as error:
            raise HTTPException(400, f"the offer's sdp cannot be used: {error}") from error
        if offer.restart_pc and (connection := self._connections.get(session_id)):
            self._expect(session_id, connection)
        return answer

    def _is_connection(self, session_id: str, pc_id: str | None) -> bool:
        connection = self._connections.get(session_id)
        return connection is not None and connection.pc_id == pc_id

    async def _candidates(self, session_id: str, request: Request) -> dict[str, str]:
        body = await _json(request)
        try:
            candidates = [IceCandidate(**candidate) for candidate in body.get("candidates", [])]
            patch = SmallWebRTCPatchRequest(pc_id=body["pc_id"], candidates=candidates)
        except (KeyError, TypeError) as error:
            raise HTTPException(400, f"the candidates of {session_id} are malformed: {error}") from error
        if not self._is_connection(session_id, patch.pc_id):
            raise HTTPException(404, f"call {session_id} has no connection {patch.pc_id}")
        try:
            await self._handler.handle_patch_request(patch)
        except (ValueError, IndexError, AssertionError) as error:
            raise HTTPException(400, f"the candidates of {session_id} are malformed: {error}") from error
        return {"status": "success"}

    def _not_offered(self, session_id: str) -> None:
        detail = f"no offer within {self._offer_within_s:g} s"
        self._sessions.limit_reached(session_id, "offer", detail)

    def _forgotten(self, session_id: str) -> None:
        detail = f"{MAX_STARTED} newer calls wait for their offers"
        self._sessions.limit_reached(session_id, "started", detail)

    def _expect(self, session_id: str, connection: CallerConnection) -> None:
        """Give the peer its time to connect, or to connect again."""
        if before := self._deadlines.get(session_id):
            before.cancel()
        self._deadlines[session_id] = asyncio.get_running_loop().call_later(
            self._offer_within_s, self._unless_connected, session_id, connection
        )

    def _unless_connected(self, session_id: str, connection: CallerConnection) -> None:
        """Hangs up on a peer that has not connected in time. Pipecat's own limit is a minute, of one state only."""
        if self._tasks and connection.pc.connectionState in ("new", "connecting"):
            detail = f"no connection within {self._offer_within_s:g} s"
            self._sessions.limit_reached(session_id, "offer", detail)
            self._tasks.create_task(self._disconnect(session_id, connection), name=f"disconnect {session_id}")

    async def _disconnect(self, session_id: str, connection: CallerConnection) -> None:
        try:
            await connection.disconnect()
        except Exception:
            log.exception("call %s could not be disconnected", session_id)  # the other calls go on

    async def _call(self, session_id: str, agent: str, connection: CallerConnection) -> None:
        self._expect(session_id, connection)
        try:
            async with self._sessions.admitted(agent, session_id) as session:
                params = TransportParams(
                    audio_in_enabled=True,
                    audio_out_enabled=True,
                    audio_out_10ms_chunks=2,
                    audio_out_filter=session.playout,
                )
                async with connection.leading_to(self._sessions.open_door(session), session.playout):
                    await self._sessions.run(session, SmallWebRTCTransport(connection, params))
        except (Full, Draining) as error:
            log.warning("call %s: %s", session_id, error)
        except Exception:
            log.exception("call %s failed", session_id)  # the other calls go on
        finally:
            self._deadlines.pop(session_id).cancel()
            del self._connections[session_id]
            await self._disconnect(session_id, connection)


def _checked_offer(body: dict[str, Any]) -> SmallWebRTCRequest:
    """Raises HTTPException when it is no SDP offer."""
    sdp, pc_id = body.get("sdp"), body.get("pc_id")
    if not isinstance(sdp, str) or body.get("type") != "offer" or not isinstance(pc_id, str | None):
        raise HTTPException(400, 'an offer is {"type": "offer", "sdp": "…"}, with a pc_id to change a call')
    try:
        media = SessionDescription.parse(sdp).media
    except Exception as error:  # whatever its parsing stumbles over
        raise HTTPException(400, f"the offer's sdp cannot be read: {error!r}") from error
    kinds = [one.kind for one in media]
    if kinds[:1] != ["audio"] or any(kinds.count(kind) > MOST_MEDIA.get(kind, 0) for kind in kinds):
        raise HTTPException(400, f"the offer's sdp has {_listed(kinds)}: audio must be first, and {_allowed_media()}")
    return SmallWebRTCRequest(sdp=sdp, type="offer", pc_id=pc_id, restart_pc=bool(body.get("restart_pc")))


def _allowed_media() -> str:
    *first, last = (f"{count} {kind}" for kind, count in MOST_MEDIA.items())
    return f"at most {', '.join(first)} and {last} are allowed"


def _listed(kinds: list[str]) -> str:
    more = f" and {len(kinds) - 8} more" if len(kinds) > 8 else ""
    return ", ".join(kinds[:8]) + more if kinds else "no media"


async def _json(request: Request) -> dict[str, Any]:
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is too long: {MAX_BODY_BYTES} bytes are allowed")
    try:
        body = json.loads(read)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return body
