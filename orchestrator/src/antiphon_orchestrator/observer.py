"""Watches a session's frames and writes its turns' timelines."""

from collections.abc import Callable

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    LLMContextAssistantTurnFrame,
    TranscriptionFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed

from .answer_progress import MS, AnswerProgress
from .containment import Containment
from .early import Early, Seen
from .services.errors import breaks_answers
from .services.frames import (
    AgentSilencedFrame,
    AnswerOverdueFrame,
    CommitTurnFrame,
    EmptyUtteranceFrame,
    LateAudioFrame,
    OverlapEndedFrame,
    SpeechPausedFrame,
    TurnVerdictFrame,
)
from .timeline import Outcome, Turn, TurnListener

# Speech that goes on this soon after a commit, before its text has come, is the same turn: it was committed too early.
RESUME_NS = 1000 * MS
# Speech that begins this soon after late audio is itself late.
STALL_NS = 500 * MS


class TimelineObserver(BaseObserver):
    """One turn is open at a time; `listener.closed` gets each, and whether the caller now waits in vain.

    A turn closes when its answer has been spoken and remembered, when the caller interrupts it, when a service
    fails, or when the session ends. `listener.begun` gets it whenever speech of it begins, and when that did. An
    utterance without words is no turn: `listener.empty` gets its id, which is used again. `was_cut_off`: the caller has
    hung up in the middle of a reply.
    """

    def __init__(
        self,
        listener: TurnListener,
        was_cut_off: Callable[[], bool] = lambda: False,
        containment: Containment | None = None,
    ) -> None:
        super().__init__(observe_every_push=False)
        self._was_cut_off = was_cut_off
        self._containment = containment or Containment(lambda _: None)
        self._listener = listener
        self._next_id = 1
        self._turn: Turn | None = None
        self._progress = AnswerProgress()
        # Interrupted, and waiting for what of its answer was heard.
        self._interrupted: Turn | None = None
        self._agent_speaking = False
        self._agent_start_ns = 0
        self._speech_start_ns = 0
        self._pauses: dict[int, int] = {}
        self._stopped_ns = 0
        self._committed_ns = 0
        self._late_audio_ns: int | None = None
        self._awaiting_text = False
        self._early = Early()
        # Frames of the latest speech that was dismissed as not a turn.
        self._dismissed: Seen = []
        # Error of a service that can answer no more in this call, "" while all are usable.
        self._out_of_order = ""

    async def on_push_frame(self, data: FramePushed) -> None:
        """Account for a frame. An exception here would end Pipecat's task of this observer for the whole call."""
        with self._containment.contained("observer"):
            await self._observe(data)

    async def _observe(self, data: FramePushed) -> None:
        if data.frame.broadcast_sibling_id and data.frame.id > data.frame.broadcast_sibling_id:
            return  # the same event, on its way in the other direction
        if not await self._is_early(data.frame, data.timestamp):
            await self._on_frame(data.frame, data.timestamp)

    async def _on_frame(self, frame: Frame, now: int) -> None:
        await self._on_caller(frame, now)
        await self._on_model(frame, now)
        await self._on_agent(frame, now)

    async def _is_early(self, frame: Frame, now: int) -> bool:
        """Return True while it is undecided if the frame counts. Frames found to count are handled first."""
        counted = self._early.counted(frame)
        if counted and isinstance(frame, UserStoppedSpeakingFrame) and self._turn:
            self._turn.speculated = True
        for earlier in counted:
            await self._on_frame(*earlier)
        dropped = self._early.dropped(frame)
        if dropped and isinstance(frame, OverlapEndedFrame):
            self._dismissed = dropped
        if dropped and self._turn:
            if isinstance(frame, OverlapEndedFrame):
                self._turn.span("overlap", dropped[0][1], now)
                self._turn.false_interruptions += self._turn.barge_in_ms is not None
                self._turn.barge_in_ms = None
            else:
                self._turn.llm_calls += 1
                self._turn.dropped += 1
        return self._early.holds(frame, now)

    async def finish(self) -> None:
        """The session is over: a turn that is still open got no answer, or only part of one."""
        with self._containment.contained("observer"):
            await self._finish()

    async def _finish(self) -> None:
        if self._interrupted:
            await self._close(self._interrupted, "interrupted")
        turn, self._turn, self._interrupted = self._turn, None, None
        if turn and (turn.heard or turn.speech_end_ns is not None):
            await self._close(turn, self._outcome(turn) if turn.first_audio_ns else "unanswered")

    async def _on_caller(self, frame: Frame, now: int) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                await self._speech_started(now - round(frame.start_secs * 1e9), now)
            case SpeechPausedFrame():
                self._pauses[frame.sample] = frame.speech_end_ns
            case LateAudioFrame():
                self._late_audio_ns = now
                if self._turn and self._turn.first_audio_ns is None and self._is_heard(self._turn, now):
                    self._turn.stalled = True
            case TurnVerdictFrame() if self._turn:
                name = f"verdict@{frame.silence_ms}"
                self._turn.span(name, now - round(frame.compute_ms * MS), now)
            case VADUserStoppedSpeakingFrame():
                self._stopped_ns = now
                if self._turn and self._pauses:
                    self._turn.span("speech", self._speech_start_ns, list(self._pauses.values())[-1])
            case CommitTurnFrame():
                await self._revive(now)
                await self._committed(frame, now)
            case TranscriptionFrame():
                await self._understood(frame, now)
            case EmptyUtteranceFrame() if self._turn:
                self._text_came(self._turn, now)
                if not self._turn.heard:
                    await self._no_text(self._turn, frame.error)

    @staticmethod
    def _is_heard(turn: Turn, now: int) -> bool:
        """Return True while speech of the turn is coming, or has just ended."""
        return turn.speech_end_ns is None or now - turn.speech_end_ns <= RESUME_NS

    async def _speech_started(self, start_ns: int, now: int) -> None:
        turn = self._turn
        if turn and turn.speech_end_ns is not None:
            if self._awaiting_text and now - self._committed_ns <= RESUME_NS:
                turn.speech_end_ns = None
                turn.stages.clear()
            else:
                await self._interrupt(turn)
                turn = None
        if turn is None:
            late_ns = self._late_audio_ns
            self._turn = Turn(self._next_id, stalled=late_ns is not None and start_ns <= late_ns + STALL_NS)
            self._late_audio_ns, self._dismissed = None, []
            self._next_id += 1
            self._progress.begin()
            self._pauses.clear()
        if self._turn and self._turn.speech_end_ns is None:
            self._listener.begun(self._turn, start_ns)
        self._speech_start_ns = start_ns

    async def _interrupt(self, turn: Turn) -> None:
        if self._interrupted:
            await self._close(self._interrupted, "interrupted")
        self._interrupted = None
        if turn.first_audio_ns is not None and not self._progress.is_over:
            self._interrupted = turn
        else:
            await self._close(turn, "unanswered" if self._awaiting_text else self._outcome(turn))

    async def _committed(self, frame: CommitTurnFrame, now: int) -> None:
        if self._interrupted:  # none of it was heard, or it would have been remembered by now
            turn, self._interrupted = self._interrupted, None
            await self._close(turn, "interrupted")
        if self._turn is None:
            return
        spoken_ns = now - round(frame.silence_ms * MS)
        end_ns = min(self._pauses.get(frame.sample, now), spoken_ns)
        self._committed_ns = now
        self._awaiting_text = True
        self._turn.commit_reason, self._turn.held_for = frame.reason, frame.held_for
        self._turn.audio_late_ms = frame.audio_late_ms
        self._turn.speech_end_ns = end_ns
        self._turn.stages.clear()
        self._turn.stage("pause", min(self._stopped_ns, now))
        self._turn.stage("verdict", now)

    async def _understood(self, frame: TranscriptionFrame, now: int) -> None:
        if not self._awaiting_text:
            await self._revive(now)
        if self._turn:
            self._turn.heard = f"{self._turn.heard} {frame.text}".strip()
            self._text_came(self._turn, now)

    async def _revive(self, now: int) -> None:
        """Speech that was taken for none turns out to be a turn of its own: its words, or its end, came late.

        It is accounted for from its beginning. No turn is open that they could belong to.
        """
        if self._turn and (self._turn.speech_end_ns is None or self._awaiting_text):
            return
        dismissed, self._dismissed = self._dismissed, []
        for earlier in dismissed:
            await self._on_frame(*earlier)
        if not dismissed:
            await self._speech_started(now, now)
        if self._turn and self._turn.speech_end_ns is None:
            self._turn.speech_end_ns = list(self._pauses.values())[-1] if self._pauses else now

    async def _no_text(self, turn: Turn, error: str) -> None:
        self._turn = None
        if error:
            turn.error = error
            await self._close(turn, "failed", waiting=True)
        else:
            self._next_id = turn.turn_id
            self._listener.empty(turn.turn_id)

    def _text_came(self, turn: Turn, now: int) -> None:
        self._awaiting_text = False
        turn.stage("transcript", now)
        turn.span("asr", self._committed_ns, now)

    async def _on_model(self, frame: Frame, now: int) -> None:
        turn = self._turn
        if isinstance(frame, ErrorFrame) and breaks_answers(frame):
            for_good = frame.processor is not None and not frame.processor.is_usable
            self._out_of_order = frame.error if for_good else self._out_of_order
        if turn is None or turn.speech_end_ns is None:
            return
        if self._progress.note(turn, frame, now):
            await self._settle(turn)
        match frame:
            case ErrorFrame() if turn.heard and breaks_answers(frame):
                await self._broken(turn, frame.error)
            case AnswerOverdueFrame() if turn.heard:
                turn.error = frame.reason
                self._turn = None
                await self._close(turn, "failed", waiting=True)

    async def _broken(self, turn: Turn, error: str) -> None:
        turn.error = error
        if turn.first_audio_ns is None:
            self._turn = None
            await self._close(turn, "failed", waiting=True)

    async def _on_agent(self, frame: Frame, now: int) -> None:
        turn = self._turn
        match frame:
            case BotStartedSpeakingFrame():
                self._agent_speaking, self._agent_start_ns = True, now
                if turn and turn.reached("tts") and turn.first_audio_ns is None:
                    turn.stage("transport", now)
                    turn.first_audio_ns = turn.stages[-1].end_ns
            case AgentSilencedFrame() if turn and turn.first_audio_ns:
                turn.barge_in_ms = frame.after_ms
            case BotStoppedSpeakingFrame():
                self._agent_speaking = False
                speaker = self._interrupted or turn
                if speaker and speaker.first_audio_ns:
                    speaker.span("agent speech", self._agent_start_ns, now)
                if turn:
                    await self._settle(turn)
            case LLMContextAssistantTurnFrame():
                await self._remembered(frame.text)

    async def _remembered(self, text: str) -> None:
        if self._interrupted:
            turn, self._interrupted = self._interrupted, None
            turn.answered = f"{turn.answered} {text}".strip()
            await self._close(turn, "interrupted")
        elif self._turn and self._turn.llm_calls:
            self._turn.answered = f"{self._turn.answered} {text}".strip()
            self._progress.remember()
            await self._settle(self._turn)

    async def _settle(self, turn: Turn) -> None:
        """Closes the turn once nothing more of its answer can come."""
        audio_due = turn.reached("tts") and turn.first_audio_ns is None
        if turn.llm_calls and self._progress.is_over and not self._agent_speaking and not audio_due:
            self._turn = None
            outcome = self._outcome(turn) if turn.first_audio_ns else "unanswered"
            await self._close(turn, outcome, waiting=outcome in ("failed", "unanswered"))

    def _outcome(self, turn: Turn) -> Outcome:
        """Return the outcome of a turn that ends now."""
        if turn.first_audio_ns is None or not self._progress.is_over:
            return "interrupted"
        if turn.error:
            return "failed"
        return "stalled" if turn.stalled else "answered"

    async def _close(self, turn: Turn, outcome: Outcome, *, waiting: bool = False) -> None:
        if outcome == "unanswered" and self._out_of_order:
            outcome, turn.error = "failed", self._out_of_order
        heard = turn.first_audio_ns is not None and outcome in ("answered", "stalled", "interrupted")
        turn.outcome = "hung_up" if heard and self._was_cut_off() else outcome
        await self._listener.closed(turn, waiting)
