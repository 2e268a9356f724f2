"""Pipecat speech edges and turn verdicts over antiphon.turn.v1."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from loguru import logger
from opentelemetry.context import Context
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    StartFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from antiphon.common.v1 import audio_pb2
from antiphon.turn.v1 import turn_pb2 as pb
from antiphon_runtime.calls import trace_headers
from antiphon_runtime.client import Replicas, Stream

from .frames import CommitTurnFrame, SpeechPausedFrame, SpeechResumedFrame, TurnVerdictFrame
from .link import GrpcErrors, Link, call_metadata, describe, passing, turn_context
from .local_turn import LocalTurn

BYTES_PER_SAMPLE = 2
# Of 20 ms each: opening a stream takes less, unless the service is away.
EARLY_FRAMES = 50


class AntiphonTurnProcessor(GrpcErrors, FrameProcessor):
    """Stands right after the transport's input and tells the pipeline when the caller speaks.

    Broadcasts Pipecat's VAD frames, so no VAD runs anywhere else, and pushes SpeechPausedFrame at the first
    short silence and TurnVerdictFrame as verdicts come. While the stream is down, Pipecat's own Silero and Smart
    Turn do the same in this process, if `local` is given.
    """

    def __init__(
        self,
        *,
        replicas: Replicas,
        session_id: str = "",
        stop_ms: int = 200,
        verdict_silence_ms: Sequence[int] = (96, 200, 500, 1200),
        local: LocalTurn | None = None,
        **kwargs: Any,
    ) -> None:
        """`stop_ms` is the silence after which VADUserStoppedSpeakingFrame is sent."""
        super().__init__(**kwargs)
        self._replicas = replicas
        self._session_id = session_id
        self._stop_ms = stop_ms
        self._silences = tuple(verdict_silence_ms)
        self._local = local
        self._link: Link | None = None
        self._rate_hz = 16_000
        self._heard_samples = 0
        self._base_sample = 0
        # When each of the last audio frames arrived: (one past its last sample, pipeline clock in ns).
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=1000)
        # Audio that came while a stream was being opened. When there is much of it, `local` takes over.
        self._early: deque[bytes] = deque(maxlen=EARLY_FRAMES)
        self._away = False
        self._speaking = False
        self._pause_sample: int | None = None
        # Speech that another ear had heard begin than the one that listens now, which may not tell its end.
        self._untracked = False
        self._renew_when_quiet = False
        self._turn_id = 0
        # The turn's trace context, once the server knows it.
        self._named: Context | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        await super().setup(setup)
        self._rate_hz = setup.audio_in_sample_rate
        config = pb.DetectConfig(
            audio=audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=self._rate_hz),
            verdict_silence_ms=self._silences,
        )
        self._link = Link(
            self._replicas,
            pb.DetectRequest(config=config),
            on_open=self._opened,
            on_event=self._on_event,
            on_lost=self._lost,
            metadata=call_metadata(self, self._session_id),
        )
        self._link_task = self.create_task(self._link.run(), "turn_link")

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._close()

    async def _close(self) -> None:
        if self._link:
            self._link = None
            await self.cancel_task(self._link_task)
        if self._local:
            await self._local.close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        match frame:
            case InputAudioRawFrame():
                await self._hear(frame.audio)
            case StartFrame() if self._local:
                await self._local.start(self._rate_hz)
            case BotStartedSpeakingFrame() | BotStoppedSpeakingFrame():
                speaking = isinstance(frame, BotStartedSpeakingFrame)
                self._send(pb.DetectRequest(agent_speaking=pb.AgentSpeaking(speaking=speaking)))
            case CommitTurnFrame():
                # Verdicts from now on are about the next turn.
                self._turn_id += 1
                self._send(pb.DetectRequest(utterance=pb.Utterance(id=self._turn_id)))
                if self._link and self._renew_when_quiet:
                    self._renew_when_quiet = False
                    self._link.renew()
            case EndFrame() | CancelFrame():
                await self._close()

    def _send(self, request: pb.DetectRequest) -> None:
        if self._link:
            self._link.send(request)

    async def _hear(self, audio: bytes) -> None:
        self._heard_samples += len(audio) // BYTES_PER_SAMPLE
        self._arrivals.append((self._heard_samples, self.get_clock().get_time()))
        self._name_turn()
        link = self._link
        if link and link.connected:
            if not link.send(pb.DetectRequest(audio=audio)):
                logger.warning(f"{self}: the turn service takes no audio, changing replica")
                link.abandon()
        elif self._local and (self._away or len(self._early) == EARLY_FRAMES):
            await self._hear_here(self._local, audio)
        else:
            self._early.append(audio)
        if self._untracked:
            await self._let_go()
        await self._maybe_stop()

    def _name_turn(self) -> None:
        """Tells the server which trace the turn is in, as soon as that is known."""
        context = turn_context(self)
        if context is not None and context is not self._named and self._link and self._link.connected:
            self._named = context
            traceparent = trace_headers(context).get("traceparent", "")
            self._send(pb.DetectRequest(utterance=pb.Utterance(id=self._turn_id, traceparent=traceparent)))

    async def _hear_here(self, local: LocalTurn, audio: bytes) -> None:
        self._away = True
        unheard = [*self._early, audio]
        self._early.clear()
        end = self._heard_samples - sum(map(len, unheard)) // BYTES_PER_SAMPLE
        for piece in unheard:
            end += len(piece) // BYTES_PER_SAMPLE
            for event in await local.hear(piece, end):
                await self._on_event(event, base=0)

    async def _let_go(self) -> None:
        """A pause now, which more speech will end, is better than a turn that never ends."""
        self._untracked = False
        if self._speaking and self._pause_sample is None:
            await self._paused(self._heard_samples, 0)

    async def _maybe_stop(self) -> None:
        """Time is audio: the caller has stopped once `stop_ms` of silence has arrived."""
        if not self._speaking or self._pause_sample is None:
            return
        if (self._heard_samples - self._pause_sample) * 1000 >= self._stop_ms * self._rate_hz:
            self._speaking = False
            await self.broadcast_frame(VADUserStoppedSpeakingFrame, stop_secs=self._stop_ms / 1000)

    def _opened(self, _: Stream) -> Sequence[pb.DetectRequest]:
        early, self._away, self._named = list(self._early), False, None
        self._early.clear()
        self._base_sample = self._heard_samples - sum(map(len, early)) // BYTES_PER_SAMPLE
        self._untracked = True
        if self._local:
            self._local.reset()
        turn = pb.DetectRequest(utterance=pb.Utterance(id=self._turn_id))
        return [turn, *(pb.DetectRequest(audio=audio) for audio in early)]

    async def _lost(self, error: Exception, final: bool) -> None:
        # The failures that follow, to dial again, change nothing.
        self._untracked |= not self._away
        self._away = True
        await self.push_error(f"turn: {describe(error)}", exception=error, category=None if final else passing(error))

    async def _on_event(self, event: pb.DetectResponse, base: int | None = None) -> None:
        base = self._base_sample if base is None else base
        match event.WhichOneof("event"):
            case "speech_started":
                self._pause_sample, self._untracked = None, False
                if not self._speaking:
                    self._speaking = True
                    late = self._heard_samples - (event.speech_started.sample + base)
                    await self.broadcast_frame(VADUserStartedSpeakingFrame, start_secs=late / self._rate_hz)
                else:
                    await self.push_frame(SpeechResumedFrame())
            case "speech_paused":
                await self._paused(event.speech_paused.sample + base, event.speech_paused.silence_ms)
            case "verdict":
                await self._judged(event.verdict, base)
            case "draining" if self._link:
                self._renew_when_quiet = self._speaking
                if not self._speaking:
                    self._link.renew()
            case _:
                pass  # a later server's event

    async def _paused(self, sample: int, silence_ms: int) -> None:
        self._pause_sample = sample
        await self.push_frame(
            SpeechPausedFrame(
                sample=sample,
                silence_ms=silence_ms,
                arrived_ms=(self._heard_samples - sample) * 1000 // self._rate_hz,
                speech_end_ns=self._arrival_ns(sample),
            )
        )
        await self._maybe_stop()

    async def _judged(self, verdict: pb.Verdict, base: int) -> None:
        await self.push_frame(
            TurnVerdictFrame(
                sample=verdict.sample + base,
                silence_ms=verdict.silence_ms,
                probability=verdict.probability,
                complete=verdict.complete,
                compute_ms=verdict.timings.queue_ms + verdict.timings.compute_ms,
            )
        )

    def _arrival_ns(self, sample: int) -> int:
        """When the audio up to `sample` had arrived, had it come sample by sample."""
        for end, at_ns in self._arrivals:
            if end >= sample:
                return at_ns - round((end - sample) * 1e9 / self._rate_hz)
        return self.get_clock().get_time()
