"""A model server that misbehaves as it is told: OpenAI's Chat Completions over HTTP, one script for each agent.

The agent is known by a tag in its system prompt, "[name]"; a request without one belongs to the plain bot.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

PLAIN = "plain"
TAG = re.compile(r"\[([a-z0-9_]+)\]")
NAME = "scripted"
FOREVER_S = 3600.0
MOST_REQUESTS = 1000


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: words after `wait_s`, one each `gap_s`; then it ends, stalls, breaks off or begins again.

    `pieces` are sent as they are, instead of words. With a `tool`, its call follows the words.
    """

    text: str = ""
    pieces: tuple[str, ...] = ()
    wait_s: float = 0.0
    gap_s: float = 0.005
    then: Literal["end", "stall", "cut", "repeat"] = "end"
    finish: str = "stop"
    status: int = 200
    tool: str = ""
    arguments: str = "{}"
    thought: str = ""


Script = Callable[[int, list[dict[str, Any]]], Reply]


def in_turn(*replies: Reply) -> Script:
    """The replies one after the other; the last one again and again."""
    return lambda number, _messages: replies[min(number, len(replies) - 1)]


@dataclass(slots=True)
class Request:
    """One request to the server, its time, and how it ended: done, tool, cut, cancelled or a status."""

    at_s: float
    messages: list[dict[str, Any]]
    tools: list[str]
    ended: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"messages": self.messages, "tools": self.tools, "ended": self.ended}


@dataclass(slots=True)
class _Part:
    script: Script
    requests: list[Request] = field(default_factory=list)


class ModelServer:
    """The scripts and what was asked, by the agent's name."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}

    def play(self, agent: str, script: Script) -> None:
        """From now on the agent's requests are answered by the script; what was asked before is forgotten."""
        self._parts[agent] = _Part(script)

    def requests(self, agent: str) -> list[Request]:
        return self._parts[agent].requests if agent in self._parts else []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves on a free port while the context lasts. Gives the base URL."""
        app = web.Application()
        app.add_routes([web.get("/v1/models", _models), web.post("/v1/chat/completions", self._chat)])
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        messages = body["messages"]
        part = self._parts.setdefault(agent_of(messages), _Part(in_turn(Reply("I have nothing to say."))))
        asked = Request(time.monotonic(), messages, [tool["function"]["name"] for tool in body.get("tools") or ()])
        reply = part.script(len(part.requests), messages)
        if len(part.requests) < MOST_REQUESTS:
            part.requests.append(asked)
        if reply.status != 200:
            asked.ended = str(reply.status)
            error = {"message": reply.text or "no", "type": "error", "code": reply.status}
            return web.json_response({"error": error}, status=reply.status)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(http)
        try:
            async for line in _lines(reply):
                await response.write(line)
            asked.ended = "cut" if reply.then == "cut" else "done"
        finally:
            asked.ended = asked.ended or "cancelled"
        if reply.then == "cut" and http.transport:
            http.transport.abort()
        return response


def agent_of(messages: Sequence[dict[str, Any]]) -> str:
    """The agent whose system prompt the messages begin with."""
    first = messages[0] if messages else {}
    found = TAG.search(str(first.get("content") or "")) if first.get("role") == "system" else None
    return found[1] if found else PLAIN


async def _models(_: web.Request) -> web.StreamResponse:
    return web.json_response({"object": "list", "data": [{"id": NAME, "object": "model", "created": 0}]})


async def _lines(reply: Reply) -> AsyncIterator[bytes]:
    yield _chunk({"role": "assistant", "content": ""})
    await asyncio.sleep(reply.wait_s)
    for word in reply.thought.split():
        yield _chunk({"reasoning_content": word + " "})
    async for piece in _pieces(reply):
        yield _chunk({"content": piece})
    if reply.then == "stall":
        await asyncio.sleep(FOREVER_S)
    if reply.then == "cut":
        return
    if reply.tool:
        function = {"name": reply.tool, "arguments": reply.arguments}
        call = {"index": 0, "id": f"call_{time.monotonic_ns()}", "type": "function", "function": function}
        yield _chunk({"tool_calls": [call]})
    yield _chunk({}, "tool_calls" if reply.tool else reply.finish)
    yield b"data: [DONE]\n\n"


async def _pieces(reply: Reply) -> AsyncIterator[str]:
    while True:
        words = [(" " if number else "") + word for number, word in enumerate(reply.text.split(" "))]
        for piece in reply.pieces or (words if reply.text else ()):
            yield piece
            await asyncio.sleep(reply.gap_s)
        if reply.then != "repeat":
            return
        yield " "


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": NAME, "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n".encode()
