"""Requests about a session go to the worker that has it, whichever worker gets them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

# A session's id begins with its worker's number.
OF_A_SESSION = re.compile(r"^/(?:api/)?sessions/(\d+)-")
# A trace's id tells nothing: whoever is asked asks all.
OF_A_TRACE = re.compile(r"^/api/traces/")
# Of one connection, which the other end sets anew.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}
ANSWER_S = 30.0


class _Inner(uvicorn.Server):
    """Signals are the outer server's."""

    @contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


class Peers:
    """The workers' sockets, in a folder that only they can enter."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number

    def app(self, own: ASGIApp) -> ASGIApp:
        """`own`, of which others' sessions are asked for at theirs."""

        async def routed(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "") if scope["type"] == "http" else ""
            if OF_A_TRACE.match(path):
                response = await self._first_found(Request(scope, receive))
                await response(scope, receive, send)
                return
            found = OF_A_SESSION.match(path)
            if found is None or int(found[1]) == self._number:
                await own(scope, receive, send)
                return
            response = await self._asked(int(found[1]), Request(scope, receive))
            await response(scope, receive, send)

        return routed

    @asynccontextmanager
    async def listening(self, own: ASGIApp) -> AsyncIterator[None]:
        """Answers the other workers while the context lasts."""
        path = self._socket(self._number)
        path.unlink(missing_ok=True)
        config = uvicorn.Config(own, uds=str(path), log_config=None, access_log=False, lifespan="off")
        server = _Inner(config)
        serving = asyncio.create_task(server.serve(), name="peers")
        try:
            yield
        finally:
            server.should_exit = True
            await serving

    async def _first_found(self, request: Request) -> Response:
        answer: Response = JSONResponse({"detail": f"nothing at {request.url.path}"}, status_code=404)
        for socket in sorted(self._folder.glob("*.sock")):
            answer = await self._asked(int(socket.stem), request)
            if answer.status_code != HTTPStatus.NOT_FOUND:
                break
        return answer

    async def _asked(self, number: int, request: Request) -> Response:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket(number)))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://worker", timeout=ANSWER_S) as client:
                answer = await client.request(
                    request.method, target, headers=_passed_on(request.headers), content=await request.body()
                )
        except httpx.ConnectError:  # there is no such worker
            return JSONResponse({"detail": f"no session at {request.url.path}"}, status_code=404)
        except httpx.TransportError as error:
            return JSONResponse({"detail": f"worker {number} does not answer: {error}"}, status_code=502)
        return Response(answer.content, answer.status_code, _passed_on(answer.headers))

    def _socket(self, number: int) -> Path:
        return self._folder / f"{number}.sock"


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
