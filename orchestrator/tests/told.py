"""Sessions as an observer sees them, frame by frame, at times that the test sets."""

from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    FunctionCallFromLLM,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    LLMContextAssistantTurnFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import FramePushed
from pipecat.processors.frame_processor import FrameDirection

from antiphon_orchestrator.observer import TimelineObserver
from antiphon_orchestrator.services.frames import (
    CommitTurnFrame,
    SpeechPausedFrame,
    TurnVerdictFrame,
)
from antiphon_orchestrator.services.tts import SEGMENT_MS
from antiphon_orchestrator.timeline import Turn

MS = 1_000_000


class Told:
    """An observer and what it said. Times are in milliseconds."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        # Of each turn, whether the caller then waits in vain.
        self.waiting: list[bool] = []
        self.empties = 0
        self.observer = TimelineObserver(self)

    def begun(self, turn: Turn, start_ns: int) -> None:
        """Speech of a turn began."""

    async def closed(self, turn: Turn, waiting: bool) -> None:
        self.turns.append(turn)
        self.waiting.append(waiting)

    def empty(self, turn_id: int) -> None:
        self.empties += 1

    async def at(self, ms: float, *frames: Frame) -> None:
        for frame in frames:
            pushed = FramePushed(
                source=None,  # type: ignore[arg-type]
                destination=None,  # type: ignore[arg-type]
                frame=frame,
                direction=FrameDirection.DOWNSTREAM,
                timestamp=round(ms * MS),
            )
            await self.observer.on_push_frame(pushed)

    async def speaks(self, start_ms: float, end_ms: float, *, noticed_ms: float = 60, counts: bool = True) -> None:
        """Speech, heard to begin `noticed_ms` late, its pause noticed 100 ms and its end 200 ms after it.

        It is a turn's, unless it does not count.
        """
        await self.at(start_ms + noticed_ms, VADUserStartedSpeakingFrame(start_secs=noticed_ms / 1000))
        if counts:
            await self.at(start_ms + noticed_ms, UserStartedSpeakingFrame())
        await self.at(end_ms + 100, paused(end_ms))
        await self.at(end_ms + 200, VADUserStoppedSpeakingFrame(stop_secs=0.2))

    async def asks(self, start_ms: float, end_ms: float, text: str = "Hello.") -> None:
        """A whole turn of the caller, committed 250 ms and transcribed 300 ms after its end."""
        await self.speaks(start_ms, end_ms)
        await self.at(end_ms + 250, verdict(end_ms, compute_ms=30), commit(end_ms))
        await self.at(end_ms + 300, final(text), UserStoppedSpeakingFrame())

    async def answers(self, at_ms: float, text: str = "Hi.") -> None:
        """The model begins at `at_ms`, its first word takes 150 ms, its first sound 130 ms more, of which 80 in
        the service, and 20 to the caller; it is heard for a second."""
        await self.at(at_ms, LLMFullResponseStartFrame())
        await self.at(at_ms + 150, LLMTextFrame(text))
        await self.at(at_ms + 200, LLMFullResponseEndFrame())
        await self.at(at_ms + 280, sound(80))
        await self.at(at_ms + 300, BotStartedSpeakingFrame())
        await self.at(at_ms + 1290, remembered(text))
        await self.at(at_ms + 1300, BotStoppedSpeakingFrame())


def paused(end_ms: float) -> SpeechPausedFrame:
    return SpeechPausedFrame(sample=round(end_ms * 16), silence_ms=100, speech_end_ns=round(end_ms * MS))


def verdict(end_ms: float, *, compute_ms: float = 0.0) -> TurnVerdictFrame:
    return TurnVerdictFrame(sample=round(end_ms * 16), silence_ms=200, complete=True, compute_ms=compute_ms)


def commit(end_ms: float, reason: str = "verdict") -> CommitTurnFrame:
    return CommitTurnFrame(sample=round(end_ms * 16), reason=reason)


def final(text: str) -> TranscriptionFrame:
    return TranscriptionFrame(text, "", "", finalized=True)


def sound(segment_ms: float | None = None) -> TTSAudioRawFrame:
    frame = TTSAudioRawFrame(bytes(960), 24_000, 1)
    if segment_ms is not None:
        frame.metadata[SEGMENT_MS] = segment_ms
    return frame


def remembered(text: str) -> LLMContextAssistantTurnFrame:
    return LLMContextAssistantTurnFrame(text=text, timestamp="")


def broke(processor: Any, error: str = "gone", **kwargs: Any) -> ErrorFrame:
    return ErrorFrame(error=error, processor=processor, **kwargs)


def called(name: str) -> FunctionCallsStartedFrame:
    return FunctionCallsStartedFrame([FunctionCallFromLLM(name, "1", {}, context=None)])


def running(name: str) -> FunctionCallInProgressFrame:
    return FunctionCallInProgressFrame(function_name=name, tool_call_id="1", arguments={})


def result(name: str) -> FunctionCallResultFrame:
    return FunctionCallResultFrame(function_name=name, tool_call_id="1", arguments={}, result="")


def span(turn: Turn, name: str) -> tuple[float, float]:
    """Return the start and end of a span, in ms from the end of the caller's speech."""
    spans = turn.to_json()["spans"]
    return next((one["start_ms"], one["end_ms"]) for one in spans if one["name"] == name)


def tiles(turn: Turn) -> bool:
    """Return True if the stages tile the time from the caller's last sample to the agent's first."""
    ends = [turn.speech_end_ns, *(stage.end_ns for stage in turn.stages)]
    return ends[-1] == turn.first_audio_ns and [stage.start_ns for stage in turn.stages] == ends[:-1]
