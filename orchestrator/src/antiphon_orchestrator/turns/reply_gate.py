"""Where replies pass on their way to the caller."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from ..services.speculation import Withdrawals
from .playout import Playout


@dataclass(slots=True)
class _Held:
    """A reply that may not be heard yet."""

    frames: deque[Frame] = field(default_factory=deque)
    # When its first sound came.
    sound_ns: int | None = None


class ReplyGate(FrameProcessor):
    """Stands between the voice and the transport.

    Holds a speculative reply, sound and all, until its turn is over: UserStoppedSpeakingFrame lets it out,
    EagerEndOfTurnCancelFrame or an interruption drops it. The hold lasts as long as the turn policy and the
    recognizer's text take, which both have bounds.

    Sound goes on at once; what has a time, which is when it will be heard, waits here for it, on a clock that stands
    still while `playout` is paused. So an interrupted reply is remembered as far as it was heard.
    """

    def __init__(self, playout: Playout | None = None) -> None:
        super().__init__()
        self._playout = playout or Playout()
        self._withdrawals = Withdrawals()
        self._held: _Held | None = None
        # By how much the times of a reply that was held are too early.
        self._late_ns = 0
        # What the playout's pauses came to when the reply began.
        self._paused_ns = 0
        # Each with its time and the pauses that this counts in. Bounded by what is spoken and not yet heard.
        self._timed: deque[tuple[int, int, Frame]] = deque()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._telling: asyncio.Task[None] | None = None

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._stop_telling()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
        elif self._withdrawals.is_stale(frame):
            return
        elif isinstance(frame, SystemFrame | EndFrame):
            await self._settle(frame)
        else:
            await self._pass(frame)

    async def _settle(self, frame: Frame) -> None:
        match frame:
            case StartFrame():
                self._tell_in_time()
            case InterruptionFrame():
                await self._drop()
                await self._stop_telling()
                self._forget()
                self._tell_in_time()
            case EagerEndOfTurnCancelFrame():
                await self._drop()
            case EndFrame():
                await self._drop()
                await self._none.wait()
        await self.push_frame(frame)
        if isinstance(frame, UserStoppedSpeakingFrame):
            await self._let_out()

    async def _pass(self, frame: Frame) -> None:
        if isinstance(frame, LLMFullResponseStartFrame):
            self._late_ns = 0
            if self._withdrawals.undecided:
                self._held = _Held()
        if self._held is None:
            await self._push(frame)
            return
        if isinstance(frame, TTSAudioRawFrame) and self._held.sound_ns is None:
            self._held.sound_ns = self.get_clock().get_time()
        self._held.frames.append(frame)

    async def _let_out(self) -> None:
        if self._held is None:
            return
        if self._held.sound_ns is not None:
            self._late_ns = self.get_clock().get_time() - self._held.sound_ns
        while self._held.frames:  # what comes meanwhile is held behind it
            await self._push(self._held.frames.popleft())
        self._held = None

    async def _drop(self) -> None:
        held, self._held, self._late_ns = self._held, None, 0
        for frame in held.frames if held else ():
            if not frame.interruptible:
                await self.push_frame(frame)

    async def _push(self, frame: Frame) -> None:
        match frame:
            case LLMFullResponseStartFrame() | TTSStartedFrame():
                self._playout.begin()
                self._paused_ns = self._playout.paused_ns
            case TTSAudioRawFrame():
                self._playout.queued(frame.audio)
            case TTSStoppedFrame():  # takes its place behind the sound, whatever its time
                self._playout.end()
            case Frame(pts=int(at_ns)):
                frame.pts = at_ns + self._late_ns
                due_ns = time.monotonic_ns() + frame.pts - self.get_clock().get_time()
                self._timed.append((due_ns, self._paused_ns, frame))
                self._note()
                return
        await self.push_frame(frame)

    def _tell_in_time(self) -> None:
        self._telling = self.create_task(self._tell(), "words")

    async def _stop_telling(self) -> None:
        if self._telling:
            await self.cancel_task(self._telling)
            self._telling = None

    def _forget(self) -> None:
        self._timed = deque(timed for timed in self._timed if not timed[2].interruptible)
        self._note()

    def _note(self) -> None:
        for event, holds in ((self._some, bool(self._timed)), (self._none, not self._timed)):
            if holds:
                event.set()
            else:
                event.clear()

    async def _tell(self) -> None:
        """Passes on what has a time when that has come."""
        while True:
            await self._some.wait()
            due_ns, paused_ns, frame = self._timed[0]
            await self._playout.wait(due_ns, paused_ns)
            self._timed.popleft()
            if isinstance(frame, TTSTextFrame):
                self._playout.heard(frame.text)
            await self.push_frame(frame)
            self._note()
