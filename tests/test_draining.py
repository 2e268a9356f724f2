"""An orchestrator that is told to stop: calls under way are heard to their end, and nobody is cut off unannounced."""

import asyncio
import signal
import time

import httpx
import pytest
from orchestrator_process import Front, orchestrator
from raw_caller import dialled
from websockets.exceptions import InvalidStatus


async def said_by(front: Front, path: str) -> tuple[int, str]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{front.page}{path}")
        return answer.status_code, answer.json()["status"]


async def draining(front: Front) -> None:
    async with asyncio.timeout(60):
        while (await said_by(front, "/healthz"))[0] == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # it is a process of its own


async def refused(front: Front) -> str:
    """Tries new calls until one is refused, and gives the reason."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with dialled(front.url):
                    await asyncio.sleep(0.1)
            except InvalidStatus as error:
                return f"{error.response.status_code} {error.response.body.decode()}"


async def test_after_sigterm_a_call_goes_on_while_new_ones_are_first_taken_and_then_refused() -> None:
    async with orchestrator(drain_s=1, grace_s=60) as front:
        async with dialled(front.url) as caller:
            await caller.until_session()
            assert (await caller.turn())["outcome"] == "answered"
            front.process.send_signal(signal.SIGTERM)
            await draining(front)
            assert await said_by(front, "/healthz") == (503, "draining")
            assert await said_by(front, "/livez") == (200, "ok")
            async with dialled(front.url) as late:  # one who had not heard of it yet
                await late.until_session()
                assert (await late.turn())["outcome"] == "answered"
            assert "503" in (reason := await refused(front)) and "Draining" in reason
            assert (await caller.turn())["outcome"] == "answered"
            assert front.process.returncode is None
        async with asyncio.timeout(60):  # nothing is waited for once the last call has ended
            assert await front.process.wait() == 0


@pytest.mark.parametrize("hurry", [False, True], ids=["the grace ends", "a second signal comes"])
async def test_a_call_is_cut_off_when(hurry: bool) -> None:
    async with orchestrator(grace_s=600 if hurry else 1) as front, dialled(front.url) as caller:
        await caller.until_session()
        started = time.monotonic()
        front.process.send_signal(signal.SIGTERM)
        await draining(front)
        if hurry:
            front.process.send_signal(signal.SIGTERM)
        await caller.hung_up_on()
        async with asyncio.timeout(60):
            assert await front.process.wait() == 0
        assert hurry or time.monotonic() - started >= 1
        assert time.monotonic() - started < 120
