"""Processor that inserts phrases into the pipeline."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    FunctionCallCancelFrame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    InterruptionFrame,
    SystemFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from ..services.frames import AnswerOverdueFrame, AnswerOwedFrame
from .answer_watch import Answer, AnswerWatch
from .manners import Manners
from .phrases import Line, Occasion, PhraseBook
from .utterance import phrase_frames

# Limit for synthesizing a phrase that is not in the book yet.
LEARN_S = 3.0
# The transport tells upstream when the agent is heard.
HEARD = (BotStartedSpeakingFrame, BotStoppedSpeakingFrame)


@dataclass
class ServiceFailedFrame(SystemFrame):
    """A service reported an error, which may mean that an answer does not come.

    Parameters:
        error: As the service pushed it.
    """

    error: ErrorFrame = field(default_factory=lambda: ErrorFrame(""))


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits in s: for a tool until the caller is asked to wait, and for a turn until its answer is heard."""

    tool_s: float = 1.5
    answer_s: float = 12.0


class Spokesman(FrameProcessor):
    """Stands between the voice and the ReplyGate: says phrases, and watches over each turn's answer.

    A tool that takes long gets a filler. An answer that does not come is given up: the model and the voice are
    interrupted, and AnswerOverdueFrame tells. `manners` decides what is said of an answer that cannot come.
    Services' errors, which leave a pipeline the other way, come as ServiceFailedFrame.
    """

    def __init__(
        self,
        book: PhraseBook,
        lines: Mapping[Occasion, Line],
        patience: Patience,
        leave: Callable[[Occasion], Awaitable[None]],
        **kwargs: Any,
    ) -> None:
        """`leave` says a phrase as the last of the call, and hangs up."""
        super().__init__(**kwargs)
        self.manners = Manners(self._say_or_learn, leave)
        self._answers = AnswerWatch()
        self._book = book
        self._lines = lines
        self._patience = patience
        self._caller_speaks = False
        self._tools: set[str] = set()
        # Those that may be under way: "filler", "watch", and "say" for a phrase that is not known yet.
        self._waits: dict[str, asyncio.Task[None]] = {}

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._rest()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            await self._note(frame)
            if isinstance(frame, ServiceFailedFrame):
                await self._conclude(self._answers.failed(frame.error))
                return
        elif isinstance(frame, BotStartedSpeakingFrame):
            await self._stop("watch")
        await self.push_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM or isinstance(frame, HEARD):
            await self._conclude(self._answers.note(frame))
        if isinstance(frame, BotStoppedSpeakingFrame) and self._answers.owed and not self._tools:
            await self._start("watch", self._give_up_late())  # the rest of the answer is still to come

    async def _conclude(self, answer: Answer | None) -> None:
        match answer:
            case Answer.GIVEN:
                self.manners.answered()
            case Answer.MISSED:
                await self._stop("watch")
                await self.manners.missed()

    async def _note(self, frame: Frame) -> None:
        match frame:
            case UserStartedSpeakingFrame():
                self._caller_speaks = True
            case UserStoppedSpeakingFrame():
                self._caller_speaks = False
            case AnswerOwedFrame():
                self.manners.caller_spoke()
                await self._start("watch", self._give_up_late())
            case FunctionCallInProgressFrame():
                self._tools.add(frame.tool_call_id)
                await self._stop("watch")  # it has a limit of its own
                if "filler" not in self._waits:
                    await self._start("filler", self._fill())
            case FunctionCallResultFrame() | FunctionCallCancelFrame():
                self._tools.discard(frame.tool_call_id)
                if not self._tools:
                    await self._stop("filler")
                    if self._answers.owed:
                        await self._start("watch", self._give_up_late())
            case EndFrame():
                if saying := self._waits.get("say"):  # the last words
                    await asyncio.wait([saying])
                await self._rest()
            case InterruptionFrame() | CancelFrame():
                await self._rest()

    async def _rest(self) -> None:
        self._tools.clear()
        for name in list(self._waits):
            await self._stop(name)

    async def _start(self, name: str, wait: Coroutine[Any, Any, None]) -> None:
        await self._stop(name)
        self._waits[name] = self.create_task(wait, name)

    async def _stop(self, name: str) -> None:
        task = self._waits.pop(name, None)
        if task and task is not asyncio.current_task():
            await self.cancel_task(task)

    async def _fill(self) -> None:
        await asyncio.sleep(self._patience.tool_s)
        if line := self._lines.get(Occasion.FILLER):
            await self._learn_and_say(Occasion.FILLER, line)

    async def _give_up_late(self) -> None:
        await asyncio.sleep(self._patience.answer_s)
        await self.broadcast_frame(AnswerOverdueFrame, reason=f"no answer within {self._patience.answer_s:g} s")
        missed = self._answers.overdue()
        await self._rest()
        await self.broadcast_interruption()
        await self._conclude(missed)

    async def _say_or_learn(self, occasion: Occasion) -> None:
        line = self._lines.get(occasion)
        if line is None or self._book.get(line):
            await self._say(occasion)
        else:
            await self._start("say", self._learn_and_say(occasion, line))

    async def _learn_and_say(self, occasion: Occasion, line: Line) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LEARN_S):
                await self._book.learn([line])
        await self._say(occasion)

    async def _say(self, occasion: Occasion) -> None:
        line = self._lines.get(occasion)
        spoken = self._book.get(line) if line else None
        if spoken is None or self._caller_speaks:
            return
        # A filler is not remembered: the model, asked to go on after its tool, would find itself answered.
        remembered = occasion is not Occasion.FILLER
        for frame in phrase_frames(spoken, self.get_clock().get_time(), remembered=remembered):
            await self.push_frame(frame)
