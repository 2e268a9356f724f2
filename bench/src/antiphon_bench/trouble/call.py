"""One call of a case: what the caller says, what is heard, and both on one clock."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile as sf

from ..frames import AgentAudio, DropAudio, Message
from ..playout import Playout
from ..wav import CALL_RATE_HZ, Samples, resampled
from .judge import DEAD_AIR_S, Owed, Span, sound_s
from .line import TICK, TICK_S, Line
from .phones import Heard, Phone

# A listener takes this for sound: -48 dBFS.
AUDIBLE = 0.004
# Pauses of the agent up to this are within one span.
MERGE_S = 0.35
LONGEST_CALL_S = 120.0
# By which the server tells of what it refuses.
ERROR = "antiphon.error"

Timed = tuple[float, dict[str, Any]]


class Call:
    """A caller with a line, on a phone. Use as a context: it calls, ticks and hangs up.

    `least_s` says of an answer's text how long it must be heard to be finished; what is waited for is waited for
    `patience` times as long as the case says.
    """

    def __init__(
        self, phone: Phone, line: Line, page: str, least_s: Callable[[str], float], patience: float = 1.0
    ) -> None:
        self.phone = phone
        self.line = line
        self.owed: list[Owed] = []
        self.spans: list[Span] = []
        self.messages: list[Timed] = []
        self.events: list[tuple[float, str]] = []
        self.closed_s: float | None = None
        self.until_s = 0.0
        self._page = page
        self.least_s = least_s
        self._patience = patience
        self._playout = Playout(TICK_S)
        self._queue = np.zeros(0, np.float32)
        self._said = asyncio.Event()
        self._left: list[Samples] = []
        self._right: list[Samples] = []
        self._ticking: asyncio.Task[None] | None = None
        self._zero_s = time.monotonic()
        self._tick_s = 0.0
        # How far the clock of the phone has lagged at most.
        self.late_s = 0.0

    async def __aenter__(self) -> "Call":
        self._zero_s = time.monotonic()
        await self.phone.open(self.take)
        self._ticking = asyncio.create_task(self._tick(), name="ticks")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.until_s = self.until_s or self.now
        if self._ticking:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        await self.phone.close()

    @property
    def now(self) -> float:
        """The phone's clock: on a busy machine it may lag, but what is heard and what is waited for keep to it."""
        if self._ticking and not self._ticking.done():
            return self._tick_s
        return time.monotonic() - self._zero_s

    @property
    def session_id(self) -> str:
        return self.phone.session_id

    # Actions of the caller

    async def ready(self, within_s: float = 8.0) -> bool:
        """Wait for the session."""
        return await self.until(lambda: bool(self.session_id), within_s)

    async def say(self, sound: Samples, answer: str | None = "", least_s: float | None = None) -> None:
        """Say it, and return when it has been said.

        It is a turn, to which the agent owes `answer`, as text of which the length is judged, or anything for "";
        None: it is none. `least_s` overrides how long the agent must be heard.
        """
        self._note(f"caller says {len(sound) / CALL_RATE_HZ:.2f} s")
        self._queue = np.concatenate([self._queue, sound.astype(np.float32)])
        self._said.clear()
        await self._said.wait()
        if answer is not None or least_s is not None:
            loud = np.flatnonzero(np.abs(sound) > AUDIBLE)
            trailing_s = (len(sound) - int(loud[-1]) - 1) / CALL_RATE_HZ if len(loud) else 0.0
            least = least_s if least_s is not None else self.least_s(answer or "") if answer else 0.1
            self.owed.append(Owed(round(self.now - trailing_s, 3), least))
            self._note(f"the agent owes {least:.2f} s")

    def owe(self, least_s: float = 0.1) -> None:
        """From now the agent owes something that the caller did not ask for by a sound."""
        self.owed.append(Owed(round(self.now, 3), least_s))
        self._note(f"the agent owes {least_s:.2f} s")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message of the caller's."""
        self._note(f"caller sends {message.get('type')}")
        self.phone.tell(message)

    async def hang_up(self) -> None:
        self.until_s = self.now
        self._note("caller hangs up")
        if self._ticking:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        await self.phone.close()

    # Waits

    async def speaks(self, within_s: float = 5.0, after_s: float | None = None) -> bool:
        """Wait until the agent is heard after `after_s`, which is now by default."""
        since = self.now if after_s is None else after_s
        return await self.until(lambda: bool(self.spans) and self.spans[-1].end_s > since, within_s)

    async def quiet(self, for_s: float = 0.9, within_s: float = 15.0) -> bool:
        """Wait until the agent has not been heard for some time."""
        began = self.now
        return await self.until(lambda: self.now - max(began, self.last_heard_s) >= for_s, within_s)

    async def reply(self, within_s: float = 5.0, for_s: float = 0.9, length_s: float = 12.0) -> bool:
        """Wait until the agent has answered the last turn and is silent again; False when nothing came in time."""
        owed = self.owed[-1] if self.owed else Owed(0.0)
        if not await self.speaks(within_s, owed.at_s):
            return False
        await self.quiet(for_s, length_s)
        # A short gap is no end: what is missing may still come.
        if await self.until(lambda: sound_s(self.spans, owed.at_s, self.now) >= owed.least_s, DEAD_AIR_S):
            return await self.until(lambda: self.now - self.last_heard_s >= for_s, length_s)
        return False

    async def closes(self, within_s: float) -> bool:
        """Wait until the server has ended the call."""
        return await self.until(self.phone.closed.is_set, within_s)

    async def told(self, kind: str, within_s: float = 3.0) -> dict[str, Any] | None:
        """Wait for the first message of a type."""
        await self.until(lambda: bool(self.of_type(kind)), within_s)
        found = self.of_type(kind)
        return found[0] if found else None

    async def refused(self, reason: str, within_s: float = 3.0) -> bool:
        """Wait for an error of this reason."""
        return await self.until(lambda: any(one.get("reason") == reason for one in self.of_type(ERROR)), within_s)

    async def until(self, met: Callable[[], bool], within_s: float) -> bool:
        """Look at each tick of the call until something is met; False when it is not in time."""
        end = self.now + within_s * self._patience
        while not met():
            if self.now > end:
                return False
            await asyncio.sleep(TICK_S)
        return True

    # Results

    @property
    def last_heard_s(self) -> float:
        return self.spans[-1].end_s if self.spans else 0.0

    @property
    def sound_s(self) -> float:
        return sum(span.end_s - span.start_s for span in self.spans)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [data for _, data in self.messages if data.get("type") == kind]

    def heard_after(self, at_s: float) -> float | None:
        """The time at which the agent is first heard after another."""
        return next((max(at_s, span.start_s) for span in self.spans if span.end_s > at_s), None)

    async def turns(self) -> list[dict[str, Any]]:
        """The server's own account of the turns; none where it keeps none."""
        with suppress(httpx.HTTPError, ValueError):
            async with httpx.AsyncClient(base_url=self._page, trust_env=False, timeout=3.0) as http:
                answered = await http.get(f"/api/sessions/{self.session_id}")
                if answered.status_code == 200:
                    return list(answered.json()["turns"])
        return []

    async def until_turns(self, number: int = 1, within_s: float = 3.0) -> list[dict[str, Any]]:
        """Wait until so many turns have closed. The last one closes when the agent has been heard to its end."""
        end = self.now + within_s * self._patience
        while True:
            turns = await self.turns()
            if len(turns) >= number or self.now > end:
                return turns
            await asyncio.sleep(0.1)

    def save(self, path: Path) -> None:
        """Write what was said (left) and heard (right) as a WAV file."""
        rate = self._playout.rate_hz or CALL_RATE_HZ
        left = resampled(np.concatenate([*self._left, np.zeros(TICK, np.float32)]), CALL_RATE_HZ, rate)
        silence = np.zeros(round(TICK_S * rate), np.float32)
        right = np.concatenate([*(heard if len(heard) else silence for heard in self._right), silence])
        length = max(len(left), len(right))
        sides = [np.pad(side, (0, length - len(side))) for side in (left, right)]
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(str(path), np.stack(sides, axis=1), rate)

    def to_json(self) -> dict[str, Any]:
        return {
            "session": self.session_id,
            "agent": [(round(span.start_s, 2), round(span.end_s, 2)) for span in self.spans],
            "owed": [(owed.at_s, owed.least_s) for owed in self.owed],
            "events": self.events,
            "messages": [(at, data) for at, data in self.messages if str(data.get("type", "")).startswith("antiphon")],
            "closed_s": self.closed_s,
            "until_s": round(self.until_s, 2),
            "late_s": round(self.late_s, 3),
        }

    def take(self, heard: Heard) -> None:
        """Something the server sent."""
        now_s = time.monotonic()
        match heard:
            case AgentAudio():
                self._playout.push(heard, now_s)
            case DropAudio():
                self._playout.drop(now_s)
                self._note("audio dropped")
            case Message():
                self.messages.append((round(self.now, 3), heard.data))

    def _note(self, event: str) -> None:
        self.events.append((round(self.now, 2), event))

    async def _tick(self) -> None:
        """The clock of the phone. A late tick plays and sends what it would have in time."""
        for number in range(round(LONGEST_CALL_S / TICK_S)):
            start_s = self._zero_s + number * TICK_S
            self._tick_s = number * TICK_S
            self.late_s = max(self.late_s, time.monotonic() - start_s - TICK_S)
            heard = self._playout.tick(start_s)
            self._hear(heard, number * TICK_S)
            said, self._queue = self._queue[:TICK], self._queue[TICK:]
            said = np.pad(said, (0, TICK - len(said)))
            picked = self.line.microphone(said, self._at_call_rate(heard))
            self._left.append(picked)
            await asyncio.sleep(start_s + TICK_S - time.monotonic())
            for frame in self.line.tick(picked):
                self.phone.send(frame)
            if not len(self._queue):
                self._said.set()
            if self.phone.closed.is_set() and self.closed_s is None:
                self.closed_s = round(self.now, 3)
                self._note("the server has closed the call")

    def _at_call_rate(self, heard: Samples) -> Samples:
        if self.line.echo is None or not len(heard):
            return np.zeros(TICK, np.float32)
        there = resampled(heard, self._playout.rate_hz, CALL_RATE_HZ)[:TICK]
        return np.pad(there, (0, TICK - len(there)))

    def _hear(self, heard: Samples, at_s: float) -> None:
        self._right.append(heard)
        if not len(heard) or float(np.abs(heard).max()) < AUDIBLE:
            return
        if self.spans and at_s - self.spans[-1].end_s <= MERGE_S:
            self.spans[-1] = Span(self.spans[-1].start_s, at_s + TICK_S)
        else:
            self.spans.append(Span(at_s, at_s + TICK_S))
            self._note("agent speaks")
