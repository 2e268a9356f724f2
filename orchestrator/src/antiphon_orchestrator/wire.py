"""Frames that callers send over the WebSocket, checked and converted before anything else sees it."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.frames.protobufs import frames_pb2 as generated
from pipecat.serializers.protobuf import ProtobufFrameSerializer

from antiphon_runtime.resampling import StreamResampler

from .door import Allowance, Door
from .encodings import EncodingWatch

# Pipecat ships the generated module without its types.
frames_pb2: Any = generated

RATES_HZ = range(8_000, 48_001)
LONGEST_S = 1.0
# Each change of the rate costs a new resampler: so many at once, and so many a second in the long run.
MOST_CHANGES = 8
CHANGES_PER_S = 2.0
# The longest frame of the highest rate, in stereo, and room for its wrapping. A longer message ends the call.
MAX_MESSAGE_BYTES = 256 * 1024


class CallerFrames(ProtobufFrameSerializer):
    """Pipecat's protobuf frames, from a caller who may send anything.

    Takes PCM of 8 to 48 kHz, mono or stereo, up to a second a frame, as mono at `rate_hz`; the rate may change 8 times
    at once and twice a second. Messages are the door's.
    Everything else is refused there: a caller may neither end the call by a broken frame nor put words into it.
    """

    def __init__(self, rate_hz: int, door: Door, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._door = door
        self._encoding = EncodingWatch()
        self._rate_hz = rate_hz
        self._resampler = StreamResampler(rate_hz, rate_hz)
        self._clock = clock
        self._changes = Allowance(burst=MOST_CHANGES, per_s=CHANGES_PER_S, now_s=clock())

    async def deserialize(self, data: str | bytes) -> Frame | None:
        try:
            sent = frames_pb2.Frame.FromString(data) if isinstance(data, bytes) else frames_pb2.Frame()
        except DecodeError:
            sent = frames_pb2.Frame()
        match sent.WhichOneof("frame"):
            case "audio":
                if reason := self._refusal(sent.audio):
                    await self._door.refuse_audio(reason)
                    return None
                return self._audio(sent.audio)
            case "message":
                await self._door.admit(sent.message.data)
            case None:
                await self._door.refuse("malformed", "it is none of Pipecat's protobuf frames")
            case _:
                await self._door.refuse("frame_not_allowed")
        return None

    def _refusal(self, sent: Any) -> str:
        """The reason for which a frame of audio is refused, "" when it is taken."""
        if reason := _unusable(sent) or self._encoding.refusal(sent.audio, sent.num_channels):
            return reason
        changes = sent.sample_rate != self._resampler.from_hz
        return "audio_rate" if changes and not self._changes.take(self._clock()) else ""

    def _audio(self, sent: Any) -> InputAudioRawFrame | None:
        audio = sent.audio
        if sent.num_channels == 2:
            audio = np.frombuffer(audio, "<i2").reshape(-1, 2).mean(axis=1).astype("<i2").tobytes()
        audio = self._at_our_rate(audio, sent.sample_rate)
        return InputAudioRawFrame(audio=audio, sample_rate=self._rate_hz, num_channels=1) if audio else None

    def _at_our_rate(self, pcm: bytes, rate_hz: int) -> bytes:
        rest = b""
        if rate_hz != self._resampler.from_hz:
            rest = self._resampler.flush()
            self._resampler = StreamResampler(rate_hz, self._rate_hz, fixed_delay=True)
        return rest + self._resampler.resample(pcm)


def _unusable(sent: Any) -> str:
    """The reason for which a frame of audio cannot be used, "" when it can."""
    sample_bytes = 2 * sent.num_channels
    if sent.num_channels not in (1, 2):
        return "audio_channels"
    if sent.sample_rate not in RATES_HZ:
        return "audio_rate"
    if not sent.audio:
        return "audio_empty"
    if len(sent.audio) % sample_bytes:
        return "audio_odd_length"
    return "audio_too_long" if len(sent.audio) > LONGEST_S * sent.sample_rate * sample_bytes else ""
