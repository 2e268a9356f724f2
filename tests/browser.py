"""Headless Chromium over its DevTools protocol, with a WAV file for a microphone."""

import asyncio
import itertools
import json
import re
import shutil
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import websockets

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Keeps every peer connection where a test can look at its statistics.
REMEMBER_CONNECTIONS = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...settings) { super(...settings); window.connections.push(this); }
};
"""


class Tab:
    """One page."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async for message in self._socket:
            answer = json.loads(message)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
        raise ConnectionError("Chromium has gone")

    async def open(self, url: str) -> None:
        await self.command("Page.enable")
        await self.command("Page.addScriptToEvaluateOnNewDocument", source=REMEMBER_CONNECTIONS)
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.protocol === 'http:'")

    async def evaluate(self, expression: str) -> Any:
        """The expression's value, awaited if it is a promise."""
        result = await self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 90.0) -> Any:
        """The expression's value as soon as it is true. Raises TimeoutError."""
        poll = f"""new Promise((resolve) => {{
          const look = async () => {{
            let value;
            try {{ value = await ({expression}); }} catch {{ /* the page is still loading */ }}
            value ? resolve(value) : setTimeout(look, 50);
          }};
          look();
        }})"""
        async with asyncio.timeout(timeout_s):
            return await self.evaluate(poll)


@asynccontextmanager
async def chromium(profile: Path, microphone: Path) -> AsyncIterator[Tab]:
    """A tab of a browser of its own, whose microphone plays `microphone` once."""
    assert CHROMIUM
    child = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        "--autoplay-policy=no-user-gesture-required",
        # Otherwise our own addresses are hidden behind names that only multicast DNS can resolve.
        "--disable-features=WebRtcHideLocalIpsWithMdns",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            port = await _port(child)
        pages = json.loads(await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/json"))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        async with websockets.connect(address, max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        child.kill()
        await child.wait()


async def _port(child: asyncio.subprocess.Process) -> int:
    assert child.stderr
    async for line in child.stderr:
        if found := re.search(rb"DevTools listening on ws://[^:]+:(\d+)/", line):
            return int(found.group(1))
    raise ConnectionError("Chromium did not start")


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()
