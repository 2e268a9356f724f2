"""The beginning of a user turn as Pipecat's aggregator sees it, in two steps while the agent has the word."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    FunctionCallsStartedFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start import BaseUserTurnStartStrategy

from ..services.frames import (
    AgentSilencedFrame,
    AnswerOverdueFrame,
    AnswerOwedFrame,
    EmptyUtteranceFrame,
    OverlapEndedFrame,
    PauseTextFrame,
    SpeechPausedFrame,
    SpeechResumedFrame,
)
from .barge_in import BargeIn, Overlap, Ruling
from .playout import Playout
from .typed import is_typed


class OverlapStartStrategy(BaseUserTurnStartStrategy):
    """Speech begins a turn, and interrupts: at once while nobody else has the word, else when `policy` says so.

    The agent has the word from the end of a turn with words until it has answered. Speech then pauses `playout`, and
    nothing else: the model and the voice go on. A turn that is not to be is over with OverlapEndedFrame, and its text
    is forgotten. After one pause in vain, a reply is paused no more: it takes words or long speech to stop it.
    """

    def __init__(self, policy: BargeIn, playout: Playout, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._policy = policy
        self._playout = playout
        self._in_turn = False
        self._has_words = False
        # Error for which the turn has no text.
        self._text_error = ""
        self._answering = False
        self._agent_speaking = False
        self._paused_in_vain = False
        # Of the overlap that is not decided: when its speech began and paused, and its words.
        self._onset_s: float | None = None
        self._pause_s: float | None = None
        self._text: str | None = None
        self._had_words = False
        self._timer: asyncio.Task[None] | None = None

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._end()

    async def handle_user_turn_started(self) -> None:
        self._in_turn, self._has_words, self._paused_in_vain = True, False, False
        self._text_error = ""

    async def handle_user_turn_stopped(self) -> None:
        self._in_turn, self._answering = False, self._has_words
        if self._has_words or self._text_error:
            await self.broadcast_frame(AnswerOwedFrame, error="" if self._has_words else self._text_error)

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        match frame:
            case BotStartedSpeakingFrame():
                self._agent_speaking = True
            case BotStoppedSpeakingFrame():
                self._agent_speaking = self._answering = self._paused_in_vain = False
            case FunctionCallsStartedFrame():
                self._answering = True
            case ErrorFrame() if isinstance(frame.processor, LLMService | TTSService):
                self._answering = False
            case AnswerOverdueFrame():
                self._answering = False
            case VADUserStartedSpeakingFrame() if is_typed(frame):
                if not self._in_turn:
                    await self._start()
            case TranscriptionFrame():
                return await self._understood(frame.text, surely=is_typed(frame))
            case EmptyUtteranceFrame():
                self._text_error = self._text_error or frame.error
                return await self._understood("")
            case _ if not self._in_turn:
                await self._on_speech(frame)
        return ProcessFrameResult.CONTINUE

    async def _on_speech(self, frame: Frame) -> None:
        match frame:
            case VADUserStartedSpeakingFrame() if not (self._answering or self._agent_speaking):
                await self._start()
            case VADUserStartedSpeakingFrame():
                self._onset_s, self._pause_s, self._text = time.monotonic() - frame.start_secs, None, None
                self._had_words = False
                if not self._paused_in_vain:
                    await self._silence(self._playout.pause)
                await self._decide()
            case SpeechResumedFrame() if self._onset_s is not None:
                self._pause_s = None
                await self._decide()
            case SpeechPausedFrame() if self._onset_s is not None:
                # Its words come soon; those of a pause before are not all of them.
                self._had_words = self._had_words or bool(self._text)
                silence_ms = max(frame.silence_ms, frame.arrived_ms)
                self._pause_s, self._text = time.monotonic() - silence_ms / 1000, None
                await self._decide()
            case InterimTranscriptionFrame() if self._onset_s is not None:
                self._text = frame.text
                await self._decide()
            case PauseTextFrame():  # also of speech that was taken for none
                self._text = frame.text
                await self._decide()

    async def _understood(self, text: str, *, surely: bool = False) -> ProcessFrameResult:
        """The utterance is over: if it has begun no turn, it does now or never. `surely`: it was meant as one."""
        if self._in_turn:
            self._has_words = self._has_words or bool(text)
            return ProcessFrameResult.CONTINUE
        speaks_on = self._onset_s is not None and self._pause_s is None
        self._text = text
        if text and (surely or self._rule() is Ruling.STOP):
            await self._start()
            self._has_words = True
            return ProcessFrameResult.CONTINUE
        if speaks_on:
            self._text = None
        else:
            await self._dismiss()
        await self.trigger_reset_aggregation()
        return ProcessFrameResult.STOP

    def _rule(self) -> Ruling:
        """On words that come when all seemed decided, as on a silence that was long enough."""
        now = time.monotonic()
        onset_s = now if self._onset_s is None else self._onset_s
        pause_s = now - self._policy.resume_ms / 1000 if self._onset_s is None else self._pause_s
        overlap = Overlap(
            speech_ms=max(0.0, (now if pause_s is None else pause_s) - onset_s) * 1000,
            silence_ms=None if pause_s is None else (now - pause_s) * 1000,
            text=self._text,
            said=self._playout.said,
            left_ms=self._playout.left_ms,
            had_words=self._had_words,
        )
        return self._policy.decide(overlap)

    async def _decide(self) -> None:
        match self._rule():
            case Ruling.STOP:
                await self._start()
            case Ruling.RESUME:
                await self._dismiss()
            case Ruling.WAIT:
                await self._wait()

    async def _wait(self) -> None:
        """Decides again when there has been enough speech, or enough silence."""
        await self._stop_waiting()
        if self._onset_s is not None:
            speaking = self._pause_s is None
            since_s = self._onset_s if self._pause_s is None else self._pause_s
            limits_ms = (self._policy.sure_ms, self._policy.listening_ms) if speaking else (self._policy.resume_ms,)
            waited_ms = (time.monotonic() - since_s) * 1000
            if left_ms := [limit - waited_ms for limit in limits_ms if limit > waited_ms]:
                self._timer = self.create_task(self._decide_after(min(left_ms) / 1000), "overlap")

    async def _decide_after(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s + 0.001)
        self._timer = None
        await self._decide()

    async def _start(self) -> None:
        if self._answering or self._agent_speaking or self._playout.paused:
            await self._silence(self._playout.drop)
        await self._end()
        await self.trigger_user_turn_started()

    async def _silence(self, stop: Callable[[], None]) -> None:
        audible = self._agent_speaking and not self._playout.paused
        stop()
        if audible and self._onset_s is not None:
            await self.broadcast_frame(AgentSilencedFrame, after_ms=(time.monotonic() - self._onset_s) * 1000)

    async def _dismiss(self) -> None:
        if self._onset_s is not None:
            self._paused_in_vain = True
            await self.broadcast_frame(OverlapEndedFrame, text=self._text or "")
        await self._end()
        self._playout.resume()

    async def _end(self) -> None:
        self._onset_s = self._pause_s = self._text = None
        self._had_words = False
        await self._stop_waiting()

    async def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer and timer is not asyncio.current_task():
            await self.cancel_task(timer)
