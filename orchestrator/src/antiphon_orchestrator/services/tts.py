"""Pipecat text-to-speech over antiphon.tts.v1."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import grpc
from pipecat.frames.frames import (
    AggregatedTextFrame,
    CancelFrame,
    EagerEndOfTurnCancelFrame,
    ErrorFrame,
    Frame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TextAggregationMode, TTSService
from pipecat.utils.context.aggregated_frame_sequencer import AggregatedFrameSequencer
from pipecat.utils.text.base_text_aggregator import TextType
from pipecat.utils.tracing.service_decorators import traced_tts

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2 as pb
from antiphon_runtime.client import DialError, Replicas, Stream

from .link import GrpcErrors, call_metadata, describe
from .speculation import Withdrawals
from .tts_reply import Reply

# In a TTSAudioRawFrame's metadata: how long the server waited and worked for it, in milliseconds.
SEGMENT_MS = "antiphon.tts.segment_ms"
# A reply that is silent for longer is given up. The end of its stream ends it before, whatever the server does.
SILENT_S = 20.0
# How a reply trades first audio against smoothness; "" is the server's own.
MODES = {
    "": pb.SYNTHESIS_MODE_UNSPECIFIED,
    "batch": pb.SYNTHESIS_MODE_BATCH,
    "stream": pb.SYNTHESIS_MODE_STREAM,
    "hybrid": pb.SYNTHESIS_MODE_HYBRID,
}
# A reply of which nothing has come so long after there was something to speak is asked for elsewhere.
FIRST_AUDIO_S = 5.0
# What a model wrote and the voice keeps back for longer, with nothing else to be heard, is spoken as it is: a listener
# takes a longer silence for a fault.
LULL_S = 1.2


class AntiphonTTSService(GrpcErrors, TTSService):
    """One RPC a reply, opened when the model begins to answer and fed with its tokens as they come.

    The service cuts the text into clauses and says when each word is spoken, so that an interrupted reply is
    remembered as far as it was heard. What waits while nothing is heard is soon spoken as it is.
    """

    # None disables the flush of waiting text: a subclass decides what is spoken and when.
    _lull_s: float | None = LULL_S

    def __init__(
        self,
        *,
        replicas: Replicas,
        voice: str = "",
        language: str = "",
        mode: str = "",
        session_id: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=False,
            stop_frame_timeout_s=SILENT_S,
            # Errors say when the service cannot speak; being away for three replies is no reason to give it up.
            max_consecutive_zero_audio_contexts=0,
            text_aggregation_mode=TextAggregationMode.TOKEN,
            settings=TTSSettings(model=None, voice=voice or None, language=None),
            **kwargs,
        )
        # Pipecat's own knows no word of a sentence before it has the whole, and an interruption before that loses them.
        self._aggregated_frame_sequencer = AggregatedFrameSequencer(name=str(self))
        self._replicas = replicas
        self._language = language
        self._mode = MODES[mode]
        self._session_id = session_id
        self._replies: dict[str, Reply] = {}
        # Replies that broke off: what text they still get is not spoken.
        self._failed: set[str] = set()
        # By how much gaps have delayed the reply that is being played.
        self._delay: tuple[str | None, float] = (None, 0.0)
        self._withdrawals = Withdrawals()

    def can_generate_metrics(self) -> bool:
        return True

    @property
    def supports_processing_metrics(self) -> bool:
        return False  # run_tts only hands text over

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        undecided = self._withdrawals.undecided
        if self._withdrawals.is_stale(frame):
            return
        if isinstance(frame, EagerEndOfTurnCancelFrame) and undecided:
            await self._start_interruption()
            await self._handle_interruption(frame, direction)
        await super().process_frame(frame, direction)

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._drop_all()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._drop_all()

    async def on_turn_context_created(self, context_id: str) -> None:
        """Opens the RPC while the model still thinks."""
        if self.is_usable:
            self._reply(context_id)

    @traced_tts
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        if context_id in self._failed:
            return
        try:
            await self._tell(context_id, pb.SynthesizeRequest(text=text))
        except (DialError, grpc.aio.AioRpcError) as error:
            self._failed.add(context_id)
            await self._drop(context_id)
            yield ErrorFrame(error=f"tts: {describe(error)}", exception=error)
            return
        await self.start_tts_usage_metrics(text)
        yield None  # audio comes to the receiving task

    async def flush_audio(self, context_id: str | None = None) -> None:
        """The reply's text is complete."""
        context_id = context_id or self.get_active_audio_context_id() or ""
        if reply := self._replies.get(context_id):
            with suppress(DialError, grpc.aio.AioRpcError):  # the receiving task reports it
                await reply.end()

    async def on_turn_context_completed(self) -> None:
        context_id = self._turn_context_id
        await super().on_turn_context_completed()
        if context_id and not self.audio_context_available(context_id):
            await self._drop(context_id)  # the model said nothing to speak
        elif context_id and context_id not in self._replies:  # it broke off, or ended while this waited
            if not self.is_usable:
                self._failed.add(context_id)
            await self._end(context_id)

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        await self.stop_all_metrics()
        await self._drop(context_id)
        await super().on_audio_context_interrupted(context_id)

    async def on_audio_context_completed(self, context_id: str) -> None:
        await super().on_audio_context_completed(context_id)
        self._failed.discard(context_id)

    async def _handle_interruption(self, frame: Any, direction: Any) -> None:
        await super()._handle_interruption(frame, direction)
        for context_id in list(self._replies):
            # Those that had no audio yet had no context to be interrupted; those that still have one go on.
            if not self.audio_context_available(context_id):
                await self._drop(context_id)
        self._failed.intersection_update(self.get_audio_contexts())

    async def _apply_force_complete(self, context_id: str) -> None:
        """Pipecat takes what is left of a reply at its end for spoken; of a failed one it was not."""
        if context_id in self._failed:
            others = {*self.get_audio_contexts(), self._turn_context_id or ""} - {context_id}
            self._aggregated_frame_sequencer.clear(keep_contexts=others)
        else:
            await super()._apply_force_complete(context_id)

    def _reply(self, context_id: str) -> Reply:
        if context_id not in self._replies:
            self._replies[context_id] = Reply(self.create_task(self._try_to_open(), f"tts_open_{context_id[:8]}"))
        return self._replies[context_id]

    async def _try_to_open(self) -> Stream | DialError | grpc.aio.AioRpcError:
        try:
            return await self._open()
        except (DialError, grpc.aio.AioRpcError) as error:
            return error

    async def _open(self, *avoid: str) -> Stream:
        config = pb.SynthesizeConfig(
            audio=audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=self.sample_rate),
            voice=self._settings.voice or "",
            language_code=self._language,
            mode=self._mode,
        )
        metadata = call_metadata(self, self._session_id)
        return await self._replicas.open(pb.SynthesizeRequest(config=config), metadata=metadata, avoid=avoid)

    async def _tell(self, context_id: str, request: pb.SynthesizeRequest) -> None:
        """Raises DialError when no replica takes the reply, AioRpcError when one refuses it as such."""
        reply = self._reply(context_id)
        await reply.opened()
        if reply.receiving is None:
            reply.receiving = self.create_task(self._receive(reply, context_id), f"tts_rx_{context_id[:8]}")
            if self._lull_s is not None:
                reply.flushing = self.create_task(self._flush_lulls(reply, self._lull_s), f"tts_fl_{context_id[:8]}")
        await reply.tell(request)

    async def _flush_lulls(self, reply: Reply, lull_s: float) -> None:
        with suppress(DialError, grpc.aio.AioRpcError):  # the receiving task reports it
            await reply.flush_lulls(lull_s)

    async def _receive(self, reply: Reply, context_id: str) -> None:
        said: list[tuple[str, float]] = []
        try:
            async for event in reply.events(FIRST_AUDIO_S, self._open):
                match event.WhichOneof("event"):
                    case "audio":
                        await self._announce(said, context_id)
                        said = []
                        frame = self._audio_frame(event.audio, context_id)
                        reply.heard(frame.num_frames / frame.sample_rate)
                        await self.append_to_audio_context(context_id, frame)
                    case "spoken":
                        said.append((event.spoken.text, event.spoken.start_ms / 1000))
                    case "flushed":
                        self._flushed(context_id, event.flushed.mark)
        except (DialError, TimeoutError, grpc.aio.AioRpcError) as error:
            self._failed.add(context_id)
            await self.push_error(f"tts: {describe(error)}", exception=error)
        reply.cancel()
        if reply.flushing:
            await self.cancel_task(reply.flushing)
        self._replies.pop(context_id, None)
        # While the model still writes, only its end tells that a reply without a stream is over.
        if self.audio_context_available(context_id) and context_id != self._turn_context_id:
            await self._end(context_id)

    def _flushed(self, context_id: str, mark: int) -> None:
        """All text before the flush of this mark has become audio."""

    async def _register_spoken_text(self, src_frame: AggregatedTextFrame, text: str, context_id: str) -> None:
        """Nothing: the service says what it speaks, as it was given."""

    async def _announce(self, said: list[tuple[str, float]], context_id: str) -> None:
        """Announce the text of the audio that comes next, as one segment and word by word."""
        if not said or not self.audio_context_available(context_id):
            return
        text = " ".join(word for word, _ in said)
        segment = AggregatedTextFrame(text, TextType.SENTENCE)
        segment.context_id, segment.will_be_spoken, segment.append_to_context = context_id, True, False
        await super()._register_spoken_text(segment, text, context_id)
        await self.append_to_audio_context(context_id, segment)
        await self.add_word_timestamps(said, context_id)

    async def _add_word_timestamps(
        self,
        word_times: list[tuple[str, float]],
        context_id: str | None = None,
        includes_inter_frame_spaces: bool = False,
    ) -> None:
        """Pipecat counts from the reply's first audio; what comes after a gap is heard that much later."""
        tracker = self._word_timestamp_tracker
        if tracker.started:
            delay_s = self._delay[1] if self._delay[0] == context_id else 0.0
            late_s = [(self.get_clock().get_time() - tracker.pts(at_s)) / 1e9 for _, at_s in word_times]
            delay_s = max(delay_s, *late_s)
            self._delay = context_id, delay_s
            word_times = [(word, at_s + delay_s) for word, at_s in word_times]
        await super()._add_word_timestamps(word_times, context_id, includes_inter_frame_spaces)

    async def _end(self, context_id: str) -> None:
        await self.append_to_audio_context(context_id, TTSStoppedFrame(context_id=context_id))
        await self.remove_audio_context(context_id)

    def _audio_frame(self, audio: pb.Audio, context_id: str) -> TTSAudioRawFrame:
        frame = TTSAudioRawFrame(audio.pcm, self.sample_rate, 1, context_id=context_id)
        if audio.HasField("timings"):
            frame.metadata[SEGMENT_MS] = audio.timings.queue_ms + audio.timings.compute_ms
        return frame

    async def _drop_all(self) -> None:
        for context_id in list(self._replies):
            await self._drop(context_id)

    async def _drop(self, context_id: str) -> None:
        """Cancels the RPC, which frees the server's slot within one step."""
        reply = self._replies.pop(context_id, None)
        if reply is None:
            return
        reply.cancel()
        for task in (reply.opening, reply.receiving, reply.flushing):
            if task and task is not asyncio.current_task():
                await self.cancel_task(task)
