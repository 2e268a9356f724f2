"""Notices a caller who does not speak, from the beginning of the call on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    ClientConnectedFrame,
    EagerEndOfTurnCancelFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    FunctionCallCancelFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from ..services.frames import AnswerOverdueFrame


class Silence:
    """Time that the line may be silent before the caller is prompted, derived from frames.

    No time-out runs while the caller or the agent speaks. A pending response adds `answer_s`, a tool call `tool_s`, so
    that neither can stop the clock for good.
    """

    def __init__(self, idle_s: float, answer_s: float, tool_s: float) -> None:
        self._idle_s = idle_s
        self._answer_s = answer_s
        self._tool_s = tool_s
        self._connected = False
        self._caller_speaks = False
        self._agent_speaks = False
        self._answer_due = False
        self._tools: set[str] = set()

    @property
    def patience_s(self) -> float | None:
        """Seconds from now until the caller is taken to be silent, None while there is nothing to wait for."""
        if not self._idle_s or not self._connected or self._caller_speaks or self._agent_speaks:
            return None
        return self._idle_s + self._answer_s * self._answer_due + self._tool_s * bool(self._tools)

    def note(self, frame: Frame) -> bool:
        """Take the frame into account. True when it changes how long is waited, so that the wait begins again."""
        match frame:
            case ClientConnectedFrame():
                if self._connected:  # the line has been repaired, which is not a beginning
                    return False
                self._connected = True
            case UserStartedSpeakingFrame():
                self._caller_speaks, self._answer_due = True, False
            case UserStoppedSpeakingFrame():
                self._caller_speaks = False
            case BotStartedSpeakingFrame():
                self._agent_speaks = True
            case BotStoppedSpeakingFrame():
                self._agent_speaks = self._answer_due = False
            case LLMFullResponseStartFrame():
                self._answer_due = True
            case EagerEndOfTurnCancelFrame() | ErrorFrame() | AnswerOverdueFrame():
                was_due, self._answer_due = self._answer_due, False
                return was_due
            case InterruptionFrame():
                self._answer_due = False
                self._tools.clear()
            case FunctionCallsStartedFrame():
                self._tools.update(call.tool_call_id for call in frame.function_calls)
            case FunctionCallResultFrame() | FunctionCallCancelFrame():
                self._tools.discard(frame.tool_call_id)
            case _:
                return False
        return True


class IdleWatch(FrameProcessor):
    """Calls `on_idle` whenever nobody has spoken for too long. Stands right after the language model.

    The time runs from the client's connection, so it needs neither a greeting nor the caller's audio.
    """

    def __init__(self, silence: Silence, on_idle: Callable[[], Awaitable[None]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._silence = silence
        self._on_idle = on_idle
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    async def cleanup(self) -> None:
        await super().cleanup()
        self._stop()
        if self._asking and not self._asking.done():
            await self.cancel_task(self._asking)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame | CancelFrame):
            self._over = True
            self._stop()
        elif self._silence.note(frame):
            self._wait()
        await self.push_frame(frame, direction)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        """Begins to wait, or begins again."""
        self._stop()
        if not self._over and (patience_s := self._silence.patience_s) is not None:
            self._timer = asyncio.get_running_loop().call_later(patience_s, self._ask_soon)

    def _ask_soon(self) -> None:
        self._asking = self.create_task(self._ask(), "idle")

    async def _ask(self) -> None:
        self._wait()  # what is said now may not be heard
        try:
            await self._on_idle()
        except Exception as error:  # the next time may go better
            logger.exception(f"{self}: a silent caller could not be asked for: {error}")
