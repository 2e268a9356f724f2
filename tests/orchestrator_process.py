"""The orchestrator as a process of its own, on stubs in the test's."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from platform_fixture import Platform, platform

from antiphon_cli.platform import free_ports


@dataclass(frozen=True)
class Front:
    at: Platform
    process: asyncio.subprocess.Process
    url: str
    page: str

    def children(self) -> set[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        named = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in map(int, listed.split())}
        return {pid for pid, command in named.items() if "resource_tracker" not in command}


@asynccontextmanager
async def orchestrator(**settings: object) -> AsyncIterator[Front]:
    """Runs until the context ends; `settings` by their names without the prefix."""
    async with platform() as at:
        port = free_ports()["orchestrator"]
        told = {name: served.target for name, served in at.services.items()}
        told |= {"bind": f"127.0.0.1:{port}", **settings}
        env = {f"ANTIPHON_ORCHESTRATOR_{name.upper()}": str(value) for name, value in told.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "antiphon_orchestrator", env={**os.environ, **env}
        )
        front = Front(at, process, f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}")
        try:
            await _answers(front)
            yield front
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(90):
                await process.wait()


async def _answers(front: Front) -> None:
    async with asyncio.timeout(90), httpx.AsyncClient() as client:
        while True:
            try:
                await client.get(f"{front.page}/healthz")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.2)
