"""Many callers at once, as light as can be: a clock for all of them, and frames that are encoded once."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from antiphon_bench.frames import Message, decode, encode_audio
from antiphon_bench.wav import CALL_RATE_HZ, load_call_audio

TICK_S = 0.02
TICK_SAMPLES = 320
# From one answer's report to the next question, and between the callers' first questions.
PAUSE_TICKS = 30
GIVE_UP_TICKS = 500
# Audio is not looked at, which would cost the callers' core most of its time.
REPORT = b"antiphon.turn"


@dataclass(slots=True)
class _Caller:
    """One of them: asks, waits for the report of that turn, pauses, and asks again, so many times."""

    socket: ClientConnection
    wait_ticks: int
    turns: int
    at_tick: int = -1
    asked: int = 0
    waited_ticks: int = 0
    v2v_ms: list[float | None] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.v2v_ms) >= self.turns

    def next(self, question: Sequence[bytes], silence: bytes) -> bytes:
        """The tick's audio."""
        if self.at_tick >= 0:
            frame = question[self.at_tick]
            self.at_tick = self.at_tick + 1 if self.at_tick + 1 < len(question) else -1
            return frame
        if self.asked > len(self.v2v_ms):
            self.waited_ticks += 1
            if self.waited_ticks > GIVE_UP_TICKS:
                self.report(None)
        elif self.wait_ticks:
            self.wait_ticks -= 1
        elif self.asked < self.turns:
            self.at_tick, self.asked, self.waited_ticks = 0, self.asked + 1, 0
        return silence

    def report(self, v2v_ms: float | None) -> None:
        if self.asked > len(self.v2v_ms):
            self.v2v_ms.append(v2v_ms)
            self.wait_ticks = PAUSE_TICKS

    def lose(self) -> None:
        """The call is over before its time: what was not answered will not be."""
        self.v2v_ms += [None] * (self.turns - len(self.v2v_ms))


@dataclass(frozen=True, slots=True)
class Crowd:
    """The server's voice-to-voice time of every turn, None for one without an answer, and how late each tick was."""

    v2v_ms: list[float | None]
    late_ms: list[float]


async def crowd(url: str, question: Path, callers: int, turns: int) -> Crowd:
    """So many calls at once, of so many turns each. A call that is lost has no further answers.

    Raises OSError or WebSocketException when a call cannot be placed.
    """
    pcm = load_call_audio(question)
    padded = pcm.tobytes() + bytes(-len(pcm.tobytes()) % (2 * TICK_SAMPLES))
    size = 2 * TICK_SAMPLES
    frames = [encode_audio(padded[at : at + size], CALL_RATE_HZ) for at in range(0, len(padded), size)]
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(url, compression=None, max_size=None, proxy=None, close_timeout=1))
            for _ in range(callers)
        ]
        # Spread over a turn's length, so that they do not ask in chorus.
        crowded = [_Caller(socket, 50 + 130 * n // callers, turns) for n, socket in enumerate(sockets)]
        async with asyncio.TaskGroup() as tasks:
            listening = [tasks.create_task(_listen(caller), name="listen") for caller in crowded]
            late_ms = await _speak(crowded, frames, encode_audio(bytes(size), CALL_RATE_HZ))
            for task in listening:
                task.cancel()
    return Crowd([v2v_ms for caller in crowded for v2v_ms in caller.v2v_ms], late_ms)


async def _speak(crowded: Sequence[_Caller], question: Sequence[bytes], silence: bytes) -> list[float]:
    """Gives how late each tick was, in ms: when these are long, the callers are what is slow."""
    start, late_ms = time.monotonic(), list[float]()
    while not all(caller.done for caller in crowded):
        late_ms.append(1000 * max(0.0, time.monotonic() - start - len(late_ms) * TICK_S))
        await asyncio.gather(*(_send(caller, caller.next(question, silence)) for caller in crowded))
        await asyncio.sleep(max(0.0, start + len(late_ms) * TICK_S - time.monotonic()))
    return late_ms


async def _send(caller: _Caller, frame: bytes) -> None:
    with suppress(ConnectionClosed):
        await caller.socket.send(frame)


async def _listen(caller: _Caller) -> None:
    with suppress(ConnectionClosed):
        async for payload in caller.socket:
            if isinstance(payload, bytes) and REPORT in payload:
                match decode(payload):
                    case Message(data={"type": "antiphon.turn", "turn": dict(turn)}):
                        caller.report(_v2v_ms(turn))
    caller.lose()


def _v2v_ms(turn: dict[str, Any]) -> float | None:
    return float(turn["v2v_ms"]) if turn.get("outcome") == "answered" and turn.get("v2v_ms") else None
