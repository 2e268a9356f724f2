"""Pipecat's RTVI protocol, kept to what a caller may do and to what counts."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pipecat.processors.frameworks.rtvi.models as models
from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMarkerResponseFrame,
    LLMTextFrame,
    MetricsFrame,
    OutputTransportMessageUrgentFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import FramePushed
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.processors.frameworks.rtvi import RTVIObserver, RTVIObserverParams, RTVIProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService
from pydantic import BaseModel

from .containment import Containment
from .services.speculation import is_own, question_of

Send = Callable[[OutputTransportMessageUrgentFrame], Awaitable[None]]

# The messages that the door lets in.
ALLOWED = ("client-ready", "disconnect-bot")
# Frames by which clients are told of an answer.
ANSWER = (
    LLMFullResponseStartFrame,
    LLMTextFrame,
    LLMFullResponseEndFrame,
    LLMMarkerResponseFrame,
    FunctionCallsStartedFrame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    MetricsFrame,
    ErrorFrame,
)
# Frames by which an answer comes to count, or is withdrawn.
TURN = (UserStartedSpeakingFrame, UserStoppedSpeakingFrame, EagerEndOfTurnCancelFrame, InterruptionFrame)
# Limit of events held for undecided answers; the oldest are dropped.
MOST_HELD = 10_000


@dataclass(slots=True)
class _Answer:
    """The newest answer of one service: the question that it belongs to while it does not count, None when it does."""

    question: int | None = None
    withdrawn: bool = False


class CountedEvents:
    """Holds the events of a speculative answer until its turn is over, and forgets those of one that is withdrawn.

    A withdrawal overtakes the answer, and each service hears of it in its own time. So the model's answer and the
    voice's are told apart, each by the LLMFullResponseStartFrame that the service pushed last.
    """

    def __init__(self) -> None:
        self._answers: dict[FrameProcessor, _Answer] = {}
        self._held: deque[FramePushed] = deque(maxlen=MOST_HELD)
        # Questions older than this frame are withdrawn.
        self._withdrawn = 0
        self._turn_over = False

    def counting(self, data: FramePushed) -> list[FramePushed]:
        """Return the events that clients may be told of now, in order."""
        frame = data.frame
        if isinstance(frame, LLMFullResponseStartFrame):
            self._begin(data.source, question_of(frame))
        if isinstance(frame, TURN) and not data.first_push:
            return [data]  # it has been acted on; a later question may have been asked since
        match frame:
            case UserStartedSpeakingFrame():
                self._turn_over = False
            case UserStoppedSpeakingFrame():
                return [data, *self._count()]
            case EagerEndOfTurnCancelFrame() | InterruptionFrame():
                self._withdraw(frame)
            case LLMContextFrame(speculation=True):
                return self._decide(data, _Answer(frame.id, frame.id < self._withdrawn))
            case _ if isinstance(frame, ANSWER) and isinstance(data.source, LLMService | TTSService):
                if not is_own(frame):
                    return self._decide(data, self._answers.get(data.source, _Answer()))
        return [data]

    def _begin(self, source: FrameProcessor, question: int | None) -> None:
        withdrawn = question is not None and question < self._withdrawn
        self._answers[source] = _Answer(None if self._turn_over else question, withdrawn)

    def _decide(self, data: FramePushed, answer: _Answer) -> list[FramePushed]:
        if answer.withdrawn:
            return []
        if answer.question is None:
            return [data]
        self._held.append(data)
        return []

    def _count(self) -> list[FramePushed]:
        self._turn_over = True
        for answer in self._answers.values():
            answer.question = None
        held = list(self._held)
        self._held.clear()
        return held

    def _withdraw(self, frame: Frame) -> None:
        self._withdrawn = max(self._withdrawn, frame.id)
        self._held.clear()
        for answer in self._answers.values():
            answer.withdrawn = answer.withdrawn or answer.question is not None
            answer.question = None


class CountedRTVIObserver(RTVIObserver):
    """Tells clients of an answer once it counts."""

    def __init__(self, rtvi: "CallerRTVIProcessor", **kwargs: Any) -> None:
        super().__init__(rtvi, **kwargs)
        self._caller_rtvi = rtvi
        self._events = CountedEvents()

    async def on_push_frame(self, data: FramePushed) -> None:
        with self._caller_rtvi.containment.contained("rtvi"):
            await self._tell(data)

    async def _tell(self, data: FramePushed) -> None:
        for event in self._events.counting(data):
            if event.first_push and isinstance(event.frame, LLMFullResponseStartFrame):
                self._bot_transcription = ""  # an answer that broke off may have left some
            if event.first_push and isinstance(event.frame, ErrorFrame):
                await self._caller_rtvi.report(event.frame)
            else:
                await super().on_push_frame(event)


class CallerRTVIProcessor(RTVIProcessor):
    """Pipecat's RTVI, whose clients get ready and leave: whatever else came past the door is not acted on.

    Messages go straight to the transport by `send`. Through the pipeline, each would be handled by every processor
    and observer of the call, and an answer's, which are due at the moment when it counts, would delay its sound by
    some 20 ms.
    """

    def __init__(self, send: Send, containment: Containment | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._send = send
        self.containment = containment or Containment(lambda _: None)

    def create_rtvi_observer(self, *, params: RTVIObserverParams | None = None, **kwargs: Any) -> RTVIObserver:
        return CountedRTVIObserver(self, params=params, **kwargs)

    async def push_transport_message(self, model: BaseModel, exclude_none: bool = True) -> None:
        with self.containment.contained("rtvi"):
            await self._send(OutputTransportMessageUrgentFrame(message=model.model_dump(exclude_none=exclude_none)))

    async def report(self, error: ErrorFrame) -> None:
        """Tells the client of an error in the pipeline."""
        await super()._send_error_frame(error)

    async def _send_error_frame(self, frame: ErrorFrame) -> None:
        """Nothing: the observer reports it, unless it is of an answer that does not count."""

    async def _handle_message(self, message: models.Message, user_id: str | None = None) -> None:
        if message.type in ALLOWED:
            await super()._handle_message(message, user_id)
