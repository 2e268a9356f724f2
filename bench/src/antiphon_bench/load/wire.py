"""A caller's line over the orchestrator's WebSocket, made for many callers in one process."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from ..caller import address
from ..frames import AgentAudio, Message, decode, encode_audio
from ..speech import AUDIBLE_DBFS
from ..wav import CALL_RATE_HZ
from .caller import Caller
from .plan import Plan
from .rows import Outcome

# As in the analysis of recordings.
AUDIBLE = 10.0 ** (AUDIBLE_DBFS / 20.0)
OPEN_S = 10.0
CLOSE_S = 2.0


class WsLine:
    """Sends what the caller says at each tick, and hears for it until it is done or the line breaks."""

    def __init__(self, plan: Plan, caller: Caller) -> None:
        self._address = address(plan.url, plan.agent, plan.token)
        self._caller = caller
        self._socket: ClientConnection | None = None
        self._pending: list[bytes] = []
        self._some = asyncio.Event()

    def tick(self, due_s: float, now_s: float) -> None:
        """Sends what is due."""
        if self._socket is None:
            return
        if not self._caller.done:
            self._pending.append(encode_audio(self._caller.tick(due_s, now_s), CALL_RATE_HZ))
        self._some.set()

    async def run(self) -> None:
        """The call, to its end."""
        try:
            self._socket = await connect(
                self._address,
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=None,
                max_size=None,
                proxy=None,
            )
        except (InvalidStatus, OSError, TimeoutError, WebSocketException) as error:
            self._caller.broken(Outcome.REFUSED, str(error) or type(error).__name__, time.monotonic())
            return
        hearing = asyncio.create_task(self._hear(self._socket), name="hear")
        sending = asyncio.create_task(self._send(self._socket), name="send")
        try:
            await asyncio.wait((hearing, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (hearing, sending):
                task.cancel()
            await asyncio.gather(hearing, sending, return_exceptions=True)
            await self._socket.close()
        if not self._caller.done:
            self._caller.broken(Outcome.DROPPED, "the server ended the call", time.monotonic())

    async def _send(self, socket: ClientConnection) -> None:
        while not self._caller.done:
            await self._some.wait()
            self._some.clear()
            frames, self._pending = self._pending, []
            try:
                for frame in frames:
                    await socket.send(frame)
            except ConnectionClosed:
                return

    async def _hear(self, socket: ClientConnection) -> None:
        try:
            async for payload in socket:
                self._take(payload, time.monotonic())
        except ConnectionClosed:
            return

    def _take(self, payload: str | bytes, now_s: float) -> None:
        match decode(payload):
            case AgentAudio(samples, rate_hz):
                if sound := audible(samples, rate_hz, now_s):
                    self._caller.hears(*sound)
            case Message() as message if message.type == "antiphon.session":
                self._caller.session_began(now_s)
            case Message() as message if message.type == "antiphon.turn":
                turn = message.data.get("turn")
                self._caller.told(turn if isinstance(turn, dict) else {})


def audible(samples: Sequence[float] | np.ndarray, rate_hz: int, now_s: float) -> tuple[float, float] | None:
    """From when to when a piece of audio that came at `now_s` is heard, played at once; None when it is silent."""
    loud = np.flatnonzero(np.abs(np.asarray(samples)) >= AUDIBLE)
    if not len(loud):
        return None
    return now_s + float(loud[0]) / rate_hz, now_s + float(loud[-1] + 1) / rate_hz
