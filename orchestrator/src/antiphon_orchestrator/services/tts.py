"""Pipecat text-to-speech over antiphon.tts.v1."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc
from pipecat.frames.frames import CancelFrame, ErrorFrame, Frame, TTSAudioRawFrame, TTSStoppedFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TextAggregationMode, TTSService
from pipecat.utils.tracing.service_decorators import traced_tts

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2 as pb
from antiphon_runtime.client import DialError, Replicas, Stream

from .link import GrpcErrors, call_metadata, describe

# In a TTSAudioRawFrame's metadata: how long the server waited and worked for it, in milliseconds.
SEGMENT_MS = "antiphon.tts.segment_ms"


@dataclass(slots=True)
class _Reply:
    """One reply's RPC: being opened, then receiving."""

    opening: asyncio.Task[Stream]
    receiving: asyncio.Task[None] | None = None


class AntiphonTTSService(GrpcErrors, TTSService):
    """One RPC a reply, opened when the model begins to answer and fed with its tokens as they come.

    The service cuts the text into clauses and says when each word is spoken, so that an interrupted reply is
    remembered as far as it was heard.
    """

    def __init__(
        self,
        *,
        replicas: Replicas,
        voice: str = "",
        language: str = "",
        session_id: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=False,
            text_aggregation_mode=TextAggregationMode.TOKEN,
            settings=TTSSettings(model=None, voice=voice or None, language=None),
            **kwargs,
        )
        self._replicas = replicas
        self._language = language
        self._session_id = session_id
        self._replies: dict[str, _Reply] = {}

    def can_generate_metrics(self) -> bool:
        return True

    @property
    def supports_processing_metrics(self) -> bool:
        return False  # run_tts only hands text over

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._drop_all()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._drop_all()

    async def on_turn_context_created(self, context_id: str) -> None:
        """Opens the RPC while the model still thinks."""
        self._reply(context_id)

    @traced_tts
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        try:
            stream = await self._opened(context_id)
            await stream.write(pb.SynthesizeRequest(text=text))
            await self.start_tts_usage_metrics(text)
            yield None  # audio comes to the receiving task
        except (DialError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            await self._drop(context_id)
            yield ErrorFrame(error=f"tts: {describe(error)}", exception=error)
            yield TTSStoppedFrame(context_id=context_id)

    async def flush_audio(self, context_id: str | None = None) -> None:
        """The reply's text is complete."""
        context_id = context_id or self.get_active_audio_context_id() or ""
        if context_id in self._replies:
            try:
                await (await self._opened(context_id)).done_writing()
            except (DialError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the receiving task reports it

    async def on_turn_context_completed(self) -> None:
        context_id = self._turn_context_id
        await super().on_turn_context_completed()
        if context_id and not self.audio_context_available(context_id):
            await self._drop(context_id)  # the model said nothing to speak

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        await self.stop_all_metrics()
        await self._drop(context_id)
        await super().on_audio_context_interrupted(context_id)

    async def _handle_interruption(self, frame: Any, direction: Any) -> None:
        await super()._handle_interruption(frame, direction)
        await self._drop_all()  # replies that had no audio yet have no context to be interrupted

    def _reply(self, context_id: str) -> _Reply:
        if context_id not in self._replies:
            self._replies[context_id] = _Reply(self.create_task(self._open(), f"tts_open_{context_id[:8]}"))
        return self._replies[context_id]

    async def _open(self) -> Stream:
        config = pb.SynthesizeConfig(
            audio=audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=self.sample_rate),
            voice=self._settings.voice or "",
            language_code=self._language,
        )
        return await self._replicas.open(
            pb.SynthesizeRequest(config=config), metadata=call_metadata(self, self._session_id)
        )

    async def _opened(self, context_id: str) -> Stream:
        reply = self._reply(context_id)
        stream = await asyncio.shield(reply.opening)
        if reply.receiving is None:
            reply.receiving = self.create_task(self._receive(stream, context_id), f"tts_rx_{context_id[:8]}")
        return stream

    async def _receive(self, stream: Stream, context_id: str) -> None:
        try:
            async for event in stream:
                match event.WhichOneof("event"):
                    case "audio":
                        await self.append_to_audio_context(context_id, self._audio_frame(event.audio, context_id))
                    case "spoken":
                        word = (event.spoken.text, event.spoken.start_ms / 1000)
                        await self.add_word_timestamps([word], context_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                await self.push_error(f"tts: {describe(error)}", exception=error)
        self._replies.pop(context_id, None)
        if self.audio_context_available(context_id):
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
        if reply.opening.done() and not reply.opening.cancelled() and not reply.opening.exception():
            reply.opening.result().cancel()
        for task in (reply.opening, reply.receiving):
            if task and task is not asyncio.current_task():
                await self.cancel_task(task)
