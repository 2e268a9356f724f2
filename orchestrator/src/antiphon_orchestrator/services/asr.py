"""Pipecat speech-to-text over antiphon.asr.v1."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.time import time_now_iso8601
from pipecat.utils.tracing.service_decorators import traced_stt

from antiphon.asr.v1 import asr_pb2 as pb
from antiphon.common.v1 import audio_pb2
from antiphon_runtime.client import Replicas, Stream

from .frames import CommitTurnFrame, EmptyUtteranceFrame, PauseTextFrame, SpeechPausedFrame
from .link import GrpcErrors, Link, call_metadata, describe, passing, turn_headers

BYTES_PER_SAMPLE = 2
# An utterance whose text takes longer is given up: time to start a recognizer again, and less than the 5 s after which
# Pipecat takes a turn without text for none.
TEXT_S = 4.0
# A stream that does not answer within this is changed for one that hears the utterance again.
RETRY_S = 2.0
# While nobody speaks, audio goes in pieces of this length: nothing waits for it.
QUIET_S = 0.1
# While somebody speaks, of this: a frame of 10 ms goes at once, even one that a resampler has left a sample short.
SPEECH_S = 0.009
# Kept of the audio before an utterance: its beginning is noticed late, by a second more while a stream is opened.
LEAD_IN_S = 3.0


@dataclass(slots=True)
class _Pending:
    mode: "pb.FinalizeMode.ValueType"
    sample: int
    asked_s: float
    retried: bool = False


class AntiphonSTTService(GrpcErrors, STTService):
    """One stream for the whole call. A lost stream is opened on another replica and hears the utterance again.

    At each SpeechPausedFrame the server is asked to SPECULATE: its answer is broadcast as PauseTextFrame, and is at
    hand when the turn is committed; CommitTurnFrame asks it to COMMIT. In a bot without Antiphon's turn-taking set
    `commit_on_vad_stop`, and each VADUserStoppedSpeakingFrame commits.
    """

    def __init__(
        self,
        *,
        replicas: Replicas,
        language: str = "",
        model: str = "",
        context_ms: int = 0,
        session_id: str = "",
        commit_on_vad_stop: bool = False,
        replay_s: float = 30.0,
        **kwargs: Any,
    ) -> None:
        """`context_ms` is how much audio the model takes at a time, 0 for the server's default.

        `replay_s` bounds the audio of the unfinished utterance that is kept for a replica's loss.
        """
        super().__init__(
            settings=STTSettings(model=model or None, language=language or None), ttfs_p99_latency=0.6, **kwargs
        )
        self._replicas = replicas
        self._context_ms = context_ms
        self._session_id = session_id
        self._commit_on_vad_stop = commit_on_vad_stop
        self._replay_s = replay_s
        self._link: Link | None = None
        self._heard_samples = 0
        self._base_sample = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._unsent = bytearray()
        self._pending: dict[int, _Pending] = {}
        self._next_id = 1
        self._renew_when_quiet = False
        # From the first sign of speech to the commit.
        self._in_utterance = False
        self._error = ""

    def can_generate_metrics(self) -> bool:
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        await super().setup(setup)
        config = pb.TranscribeConfig(
            audio=audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=self.sample_rate),
            model=self._settings.model or "",
            language_code=str(self._settings.language or ""),
            interim_results=True,
            context_ms=self._context_ms,
        )
        self._link = Link(
            self._replicas,
            pb.TranscribeRequest(config=config),
            on_open=self._opened,
            on_event=self._on_event,
            on_lost=self._lost,
            metadata=call_metadata(self, self._session_id),
        )
        self._link_task = self.create_task(self._link.run(), "asr_link")

    async def stop(self, frame: EndFrame) -> None:
        await super().stop(frame)
        await self._close()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._close()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._close()

    async def _close(self) -> None:
        if self._link:
            self._link = None
            await self.cancel_task(self._link_task)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._in_utterance = True
            self._send_audio()
        elif isinstance(frame, SpeechPausedFrame):
            self._finalize(pb.FINALIZE_MODE_SPECULATE, frame.sample)
        elif isinstance(frame, CommitTurnFrame):
            self._commit(frame.sample)
        elif isinstance(frame, VADUserStoppedSpeakingFrame) and self._commit_on_vad_stop:
            self._commit(self._heard_samples)

    async def process_audio_frame(self, frame: InputAudioRawFrame, direction: FrameDirection) -> None:
        # Counted here, where nothing is awaited until the audio is kept and sent: a new stream may open meanwhile.
        self._heard_samples += len(frame.audio) // BYTES_PER_SAMPLE
        if self._muted and frame.audio:  # silence, so that the server counts the samples that we count
            await self.process_generator(self.run_stt(bytes(len(frame.audio))))
        else:
            await super().process_audio_frame(frame, direction)
        if self._pending:
            await self._give_up()

    async def _give_up(self) -> None:
        """Asks another replica for text that does not come, and ends the utterances whose text does not come at all.

        Their turns fail rather than never end.
        """
        late = [each for each in self._pending.values() if time.monotonic() - each.asked_s >= RETRY_S]
        if self._link and self._link.connected and any(not each.retried for each in late):
            logger.warning(f"{self}: the recognizer does not answer, changing replica")
            for each in self._pending.values():
                each.retried = True
            self._link.abandon()
        for number, pending in list(self._pending.items()):
            if self.is_usable and time.monotonic() - pending.asked_s < TEXT_S:
                continue
            del self._pending[number]
            if pending.mode == pb.FINALIZE_MODE_COMMIT:
                self._forget(pending.sample)
                reason = self._error or f"asr: no text within {TEXT_S:g} s"
                logger.error(f"{self}: an utterance is given up: {reason}")
                await self._push_outcome(EmptyUtteranceFrame(error=reason))

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        self._keep(audio)
        keep_s = self._replay_s if self._in_utterance or self._pending else LEAD_IN_S
        while self._kept[0][0] < self._heard_samples - keep_s * self.sample_rate:
            self._kept.popleft()
        self._unsent += audio
        piece_s = SPEECH_S if self._in_utterance or self._pending else QUIET_S
        if len(self._unsent) >= piece_s * self.sample_rate * BYTES_PER_SAMPLE:
            self._send_audio()
        yield None

    def _keep(self, audio: bytes) -> None:
        if self._kept and len(self._kept[-1][1]) < SPEECH_S * self.sample_rate * BYTES_PER_SAMPLE:
            audio = self._kept.pop()[1] + audio
        self._kept.append((self._heard_samples, audio))

    def _send_audio(self) -> None:
        if self._unsent:
            self._send(pb.TranscribeRequest(audio=bytes(self._unsent)))
            self._unsent.clear()

    def _send(self, request: pb.TranscribeRequest) -> None:
        link = self._link
        if link and link.connected and not link.send(request):
            logger.warning(f"{self}: the recognizer takes no audio, changing replica")
            link.abandon()

    def _commit(self, sample: int) -> None:
        self._in_utterance = False
        self._finalize(pb.FINALIZE_MODE_COMMIT, sample)

    def _finalize(self, mode: "pb.FinalizeMode.ValueType", sample: int) -> None:
        number, self._next_id = self._next_id, self._next_id + 1
        self._pending[number] = _Pending(mode, sample, time.monotonic())
        self._send_audio()
        self._send(self._request(number))

    def _request(self, number: int) -> pb.TranscribeRequest:
        pending = self._pending[number]
        end = max(1, pending.sample - self._base_sample)
        traceparent = turn_headers(self).get("traceparent", "")
        finalize = pb.Finalize(id=number, mode=pending.mode, end_sample=end, traceparent=traceparent)
        return pb.TranscribeRequest(finalize=finalize)

    def _opened(self, _: Stream) -> Sequence[pb.TranscribeRequest]:
        """The unfinished utterance and the commits that a lost stream left unanswered."""
        self._error = ""
        self._unsent.clear()  # it is among what was kept
        kept = list(self._kept)
        self._base_sample = self._heard_samples - sum(len(audio) for _, audio in kept) // BYTES_PER_SAMPLE
        self._pending = {n: p for n, p in self._pending.items() if p.mode == pb.FINALIZE_MODE_COMMIT}
        return [pb.TranscribeRequest(audio=audio) for _, audio in kept] + [self._request(n) for n in self._pending]

    async def _lost(self, error: Exception, final: bool) -> None:
        self._error = f"asr: {describe(error)}"
        await self.push_error(
            self._error,
            exception=error,
            force_treat_as_permanent=final,
            category=None if final else passing(error),
        )

    async def _on_event(self, event: pb.TranscribeResponse) -> None:
        match event.WhichOneof("event"):
            case "transcript":
                text = event.transcript.text
                await self.push_frame(
                    InterimTranscriptionFrame(text, self._user_id, time_now_iso8601(), None, result=event)
                )
            case "finalized":
                await self._on_finalized(event.finalized)
            case "draining" if self._link:
                self._renew_when_quiet = True
                if not self._user_speaking and not self._pending:
                    self._renew()
            case _:
                pass  # a later server's event

    def _renew(self) -> None:
        self._renew_when_quiet = False
        if self._link:
            self._link.renew()

    async def _on_finalized(self, done: pb.Finalized) -> None:
        pending = self._pending.pop(done.id, None)
        if pending is None:
            return
        if pending.mode != pb.FINALIZE_MODE_COMMIT:
            await self.broadcast_frame(PauseTextFrame, sample=pending.sample, text=done.text)
            return
        self._forget(pending.sample)
        if done.empty:
            await self.stop_ttfb_metrics()
            await self._cancel_ttfb_timeout()
            await self._push_outcome(EmptyUtteranceFrame())
        else:
            await self.emit_stt_usage_metrics()
            # Pipecat would mark only one of several, when they were asked for before the first one came.
            text = TranscriptionFrame(
                done.text, self._user_id, time_now_iso8601(), None, result=done, finalized=not self._in_utterance
            )
            await self._push_outcome(text)
            await self._handle_transcription(done.text, True)
        if self._renew_when_quiet and not self._user_speaking:
            self._renew()

    def _forget(self, sample: int) -> None:
        """Drops the kept audio of an utterance that is over, to the sample: a new stream must not hear it again."""
        while self._kept and self._kept[0][0] <= sample:
            self._kept.popleft()
        if self._kept:
            end, audio = self._kept[0]
            over = len(audio) // BYTES_PER_SAMPLE - (end - sample)
            if over > 0:
                self._kept[0] = end, audio[over * BYTES_PER_SAMPLE :]

    async def _push_outcome(self, frame: TranscriptionFrame | EmptyUtteranceFrame) -> None:
        """Push a frame that is not lost when its own words interrupt the agent."""
        frame.interruptible = False
        await self.push_frame(frame)

    @traced_stt
    async def _handle_transcription(self, transcript: str, is_final: bool, language: str | None = None) -> None:
        """Exists to be traced: the decorator makes the span of what was heard."""
