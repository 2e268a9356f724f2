"""Watches a session's frames and writes its turns' timelines."""

from collections.abc import Awaitable, Callable

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    LLMContextAssistantTurnFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed

from .services.frames import CommitTurnFrame, EmptyUtteranceFrame, SpeechPausedFrame, TurnVerdictFrame
from .services.tts import SEGMENT_MS
from .timeline import Outcome, Turn

MS = 1_000_000


class TimelineObserver(BaseObserver):
    """One turn is open at a time; `on_turn` gets each as it closes.

    A turn closes when its answer has been spoken and remembered, when the caller interrupts it, when a service
    fails, or when the session ends. An utterance without words is no turn.
    """

    def __init__(self, on_turn: Callable[[Turn], Awaitable[None]]) -> None:
        super().__init__(observe_every_push=False)
        self._on_turn = on_turn
        self._next_id = 1
        self._turn: Turn | None = None
        # Interrupted, and waiting for what of its answer was heard.
        self._interrupted: Turn | None = None
        self._agent_speaking = False
        self._speech_start_ns = 0
        self._pauses: dict[int, int] = {}
        self._stopped_ns = 0
        self._committed_ns = 0
        self._llm_start_ns = 0
        self._tool_start_ns = 0

    async def on_push_frame(self, data: FramePushed) -> None:
        if data.frame.broadcast_sibling_id and data.frame.id > data.frame.broadcast_sibling_id:
            return  # the same event, on its way in the other direction
        await self._on_caller(data.frame, data.timestamp)
        await self._on_model(data.frame, data.timestamp)
        await self._on_agent(data.frame, data.timestamp)

    async def finish(self) -> None:
        """The session is over: a turn that is still open got no answer, or only part of one."""
        if self._interrupted:
            await self._close(self._interrupted, "interrupted")
        if self._turn and self._turn.heard:
            await self._close(self._turn, "interrupted" if self._turn.first_audio_ns else "unanswered")
        self._turn = self._interrupted = None

    async def _on_caller(self, frame: Frame, now: int) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                await self._speech_started(now - round(frame.start_secs * 1e9))
            case SpeechPausedFrame():
                self._pauses[frame.sample] = frame.speech_end_ns
            case TurnVerdictFrame() if self._turn:
                name = f"verdict@{frame.silence_ms}"
                self._turn.span(name, now - round(frame.compute_ms * MS), now)
            case VADUserStoppedSpeakingFrame():
                self._stopped_ns = now
                if self._turn and self._pauses:
                    self._turn.span("speech", self._speech_start_ns, list(self._pauses.values())[-1])
            case CommitTurnFrame() if self._turn:
                self._committed(self._turn, frame, now)
            case TranscriptionFrame() if frame.finalized and self._turn:
                self._turn.heard = f"{self._turn.heard} {frame.text}".strip()
                self._turn.stage("transcript", now)
                self._turn.span("asr", self._committed_ns, now)
            case EmptyUtteranceFrame():
                if self._turn and not self._turn.heard:
                    self._turn = None

    async def _speech_started(self, start_ns: int) -> None:
        turn = self._turn
        if turn and turn.speech_end_ns is not None:
            await self._interrupt(turn)
            turn = None
        if turn is None:
            self._turn = Turn(self._next_id)
            self._next_id += 1
            self._pauses.clear()
        self._speech_start_ns = start_ns

    async def _interrupt(self, turn: Turn) -> None:
        if self._interrupted:
            await self._close(self._interrupted, "interrupted")
        self._interrupted = None
        if turn.first_audio_ns is None:
            await self._close(turn, "interrupted")
        else:
            self._interrupted = turn

    def _committed(self, turn: Turn, frame: CommitTurnFrame, now: int) -> None:
        self._committed_ns = now
        turn.commit_reason = frame.reason
        turn.speech_end_ns = self._pauses.get(frame.sample, now)
        turn.stages.clear()
        turn.stage("pause", min(self._stopped_ns, now))
        turn.stage("verdict", now)

    async def _on_model(self, frame: Frame, now: int) -> None:
        turn = self._turn
        if turn is None or turn.speech_end_ns is None:
            return
        match frame:
            case LLMFullResponseStartFrame():
                if turn.tools:
                    turn.stage("tool", now)
                turn.llm_calls += 1
                self._llm_start_ns = now
            case LLMTextFrame() if not turn.reached("clause") and not self._llm_answered(turn):
                turn.stage("llm", now)
                turn.span("llm first token", self._llm_start_ns, now)
            case FunctionCallsStartedFrame():
                turn.stage("llm", now)
                turn.tools += [call.function_name for call in frame.function_calls]
            case FunctionCallInProgressFrame():
                self._tool_start_ns = now
            case FunctionCallResultFrame():
                turn.span(f"tool {frame.function_name}", self._tool_start_ns, now)
            case LLMFullResponseEndFrame() if turn.llm_calls:
                turn.span("llm", self._llm_start_ns, now)
                if not turn.reached("llm"):  # the model had nothing to say
                    self._turn = None
                    await self._close(turn, "unanswered")
            case ErrorFrame() if turn.first_audio_ns is None and turn.heard:
                turn.error = frame.error
                self._turn = None
                await self._close(turn, "failed")

    def _llm_answered(self, turn: Turn) -> bool:
        return bool(turn.stages) and turn.stages[-1].name == "llm"

    async def _on_agent(self, frame: Frame, now: int) -> None:
        turn = self._turn
        match frame:
            case TTSAudioRawFrame() if turn and self._llm_answered(turn):
                worked_ns = round(frame.metadata.get(SEGMENT_MS, 0.0) * MS)
                turn.stage("clause", now - worked_ns)
                turn.stage("tts", now)
                turn.span("tts first audio", now - worked_ns, now)
            case BotStartedSpeakingFrame():
                self._agent_speaking = True
                if turn and turn.reached("tts") and turn.first_audio_ns is None:
                    turn.stage("transport", now)
                    turn.first_audio_ns = turn.stages[-1].end_ns
            case BotStoppedSpeakingFrame():
                self._agent_speaking = False
                if turn and turn.first_audio_ns:
                    turn.span("agent speech", turn.first_audio_ns, now)
                if turn and turn.answered:
                    self._turn = None
                    await self._close(turn, "answered")
            case LLMContextAssistantTurnFrame():
                await self._remembered(frame.text)

    async def _remembered(self, text: str) -> None:
        if self._interrupted:
            turn, self._interrupted = self._interrupted, None
            turn.answered = text
            await self._close(turn, "interrupted")
        elif self._turn and self._turn.heard:
            self._turn.answered = f"{self._turn.answered} {text}".strip()
            if not self._agent_speaking:
                turn, self._turn = self._turn, None
                await self._close(turn, "answered" if turn.first_audio_ns else "unanswered")

    async def _close(self, turn: Turn, outcome: Outcome) -> None:
        turn.outcome = outcome
        await self._on_turn(turn)
