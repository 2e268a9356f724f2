"""Text-to-speech that shares its GPU with the language model."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection

from antiphon.tts.v1 import tts_pb2 as pb
from antiphon_runtime.client import DialError

from ..interleaving import Interleaver, SegmentFrame
from .tts import SILENT_S, AntiphonTTSService
from .tts_reply import LOST, Reply


@dataclass(slots=True)
class _Part:
    """Pending text of a reply, and the tasks that synthesize it one after the other."""

    text: str = ""
    speaking: list[asyncio.Task[None]] = field(default_factory=list)
    flushed: dict[int, asyncio.Event] = field(default_factory=dict)
    began_s: float = 0.0
    audio_s: float = 0.0

    @property
    def ahead_s(self) -> float:
        """Seconds of audio that a listener who plays it on arrival still has buffered."""
        return self.audio_s - (time.monotonic() - self.began_s) if self.began_s else 0.0


class InterleavedTTSService(AntiphonTTSService):
    """Text waits until the model's stretch is complete, and then until the device is the voices'."""

    _lull_s = None

    def __init__(self, *, interleaver: Interleaver, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._interleaver = interleaver
        self._parts: dict[str, _Part] = {}

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if not isinstance(frame, SegmentFrame):
            await super().process_frame(frame, direction)
        elif context_id := self._turn_context_id:
            self._speak_soon(context_id, frame.segment_id)
        else:
            self._interleaver.spoken(frame.segment_id)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        if context_id not in self._failed:
            self._parts.setdefault(context_id, _Part()).text += text
        yield None  # spoken at the stretch's end

    async def flush_audio(self, context_id: str | None = None) -> None:
        context_id = context_id or self.get_active_audio_context_id() or ""
        if context_id in self._replies:
            self._speak_soon(context_id, 0)

    def _speak_soon(self, context_id: str, segment_id: int) -> None:
        part = self._parts.setdefault(context_id, _Part())
        before = [task for task in part.speaking if not task.done()]
        speaking = self._speak(context_id, part, before, segment_id)
        part.speaking = [*before, self.create_task(speaking, f"tts_speak_{context_id[:8]}")]

    async def _speak(self, context_id: str, part: _Part, before: Sequence[asyncio.Task[None]], segment_id: int) -> None:
        """Speaks what waits; with `segment_id` 0 all of the reply has been written."""
        try:
            if before:
                await asyncio.wait(before)
            text, part.text = part.text, ""
            async with self._interleaver.speaking():
                async for frame in super().run_tts(text, context_id) if text else _nothing():
                    if isinstance(frame, ErrorFrame):
                        await self.push_error(frame.error, exception=frame.exception)
                if context_id in self._replies:
                    await self._until_spoken(context_id, part, segment_id)
            if not segment_id:
                await super().flush_audio(context_id)
        finally:
            self._interleaver.spoken(segment_id, part.ahead_s)

    async def _until_spoken(self, context_id: str, part: _Part, segment_id: int) -> None:
        """Returns when the device has made all of the audio, or the reply has broken off."""
        with suppress(DialError, TimeoutError, *LOST):  # the receiving task reports it
            flushed = part.flushed[segment_id] = asyncio.Event()
            await self._tell(context_id, pb.SynthesizeRequest(flush=pb.Flush(mark=segment_id)))
            async with asyncio.timeout(SILENT_S):
                await flushed.wait()

    async def _receive(self, reply: Reply, context_id: str) -> None:
        part = self._parts.setdefault(context_id, _Part())
        try:
            await super()._receive(reply, context_id)
        finally:
            for event in part.flushed.values():
                event.set()

    def _flushed(self, context_id: str, mark: int) -> None:
        if (part := self._parts.get(context_id)) and (event := part.flushed.pop(mark, None)):
            event.set()

    def _audio_frame(self, audio: pb.Audio, context_id: str) -> TTSAudioRawFrame:
        frame = super()._audio_frame(audio, context_id)
        part = self._parts.setdefault(context_id, _Part())
        part.began_s = part.began_s or time.monotonic()
        part.audio_s += frame.num_frames / frame.sample_rate
        return frame

    async def on_audio_context_completed(self, context_id: str) -> None:
        await super().on_audio_context_completed(context_id)
        self._parts.pop(context_id, None)

    async def _drop(self, context_id: str) -> None:
        part = self._parts.pop(context_id, _Part())
        for task in part.speaking:
            if task is not asyncio.current_task():
                await self.cancel_task(task)
        await super()._drop(context_id)


async def _nothing() -> AsyncGenerator[Frame | None, None]:
    return
    yield
