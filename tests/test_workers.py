"""Several processes of the orchestrator behind one port: real ones, on stubs in this process."""

import asyncio
import json
import os
import signal
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from orchestrator_process import Front, orchestrator
from platform_fixture import until
from raw_caller import RawCaller, dialled
from websockets.exceptions import InvalidStatus

WORKERS, PLACES = 2, 3


def workers() -> AbstractAsyncContextManager[Front]:
    return orchestrator(workers=WORKERS, max_sessions=PLACES)


async def call(front: Front, stack: AsyncExitStack) -> RawCaller:
    """A call, as soon as there is a place: that of one that was hung up is free a little later."""
    async with asyncio.timeout(60):
        while True:
            try:
                caller = await stack.enter_async_context(dialled(front.url))
            except InvalidStatus:
                await asyncio.sleep(0.1)
                continue
            await caller.until_session()
            return caller


def worker_of(session_id: str) -> str:
    return session_id.partition("-")[0]


async def spread(front: Front, stack: AsyncExitStack) -> list[RawCaller]:
    """A call on each worker. Which one takes a call is the kernel's choice, so some are tried in vain."""
    found: dict[str, RawCaller] = {}
    async with asyncio.timeout(60):
        while len(found) < WORKERS:
            async with AsyncExitStack() as trying:
                caller = await call(front, trying)
                if worker_of(caller.session_id) not in found:
                    found[worker_of(caller.session_id)] = caller
                    stack.push_async_exit(trying.pop_all())
    return list(found.values())


async def test_calls_are_spread_counted_together_found_from_anywhere_and_survive_anothers_death() -> None:
    async with workers() as front, AsyncExitStack() as stack:
        callers = await spread(front, stack)
        assert {(await caller.turn())["outcome"] for caller in callers} == {"answered"}

        for _ in range(8):  # each time over a connection of its own, which any worker may take
            async with httpx.AsyncClient() as client:
                for caller in callers:
                    told = (await client.get(f"{front.page}/api/sessions/{caller.session_id}")).json()
                    assert told["session_id"] == caller.session_id and len(told["turns"]) == 1
                missing = await client.get(f"{front.page}/api/sessions/7-{'0' * 32}")
                assert missing.status_code == 404

        await call(front, stack)
        for _ in range(6):
            with pytest.raises(InvalidStatus) as refused:
                async with dialled(front.url):
                    pass
            assert refused.value.response.status_code == 503

        before = front.children()
        victim, other = callers
        dead = pid_of(victim, before)
        os.kill(dead, signal.SIGKILL)
        await victim.hung_up_on()
        assert (await other.turn())["outcome"] == "answered"
        await until(lambda: len(front.children() - {dead}) == WORKERS, timeout_s=60)
    assert front.process.returncode == 0


def pid_of(caller: RawCaller, pids: set[int]) -> int:
    """The process at the other end of the call's connection."""
    port = caller.socket.local_address[1]
    for pid in pids:
        held = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[2].rpartition(":")[2], 16) == port and f"socket:[{fields[9]}]" in held:
                return pid
    raise AssertionError(f"none of {pids} has the connection from port {port}")


async def test_a_webrtc_call_is_set_up_whichever_worker_gets_which_request() -> None:
    async with workers() as front:
        for _ in range(4):
            peer = RTCPeerConnection()
            peer.addTrack(AudioStreamTrack())
            channel = peer.createDataChannel("chat")
            said: asyncio.Queue[str] = asyncio.Queue()
            channel.on("message", said.put_nowait)
            await peer.setLocalDescription(await peer.createOffer())
            async with httpx.AsyncClient() as client:
                started = (await client.post(f"{front.page}/start", json={"body": {}})).json()["sessionId"]
            async with httpx.AsyncClient() as client:
                offer = {"sdp": peer.localDescription.sdp, "type": "offer"}
                answer = (await client.post(f"{front.page}/sessions/{started}/api/offer", json=offer)).json()
            await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
            async with asyncio.timeout(60):
                while "antiphon.session" not in (message := await said.get()):
                    pass
            assert json.loads(message)["session_id"] == started
            await peer.close()
