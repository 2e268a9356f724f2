"""What callers send over the WebSocket, checked and converted before anything else sees it."""

import logging

import numpy as np
from google.protobuf.message import DecodeError
from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import Frame, InputAudioRawFrame, InputTransportMessageFrame
from pipecat.serializers.protobuf import ProtobufFrameSerializer

log = logging.getLogger(__name__)

RATES_HZ = range(8_000, 48_001)
LONGEST_S = 1.0
# The longest frame of the highest rate, in stereo, and room for its wrapping. A longer message ends the call.
MAX_MESSAGE_BYTES = 256 * 1024


class CallerFrames(ProtobufFrameSerializer):
    """Pipecat's protobuf frames from a caller who may send anything.

    Takes PCM of 8 to 48 kHz, mono or stereo, up to a second a frame, as mono at `rate_hz`; and client
    messages. Everything else is ignored: a caller may neither end the call by a broken frame nor put words into it.
    """

    def __init__(self, rate_hz: int) -> None:
        super().__init__()
        self._rate_hz = rate_hz
        self._resampler = create_stream_resampler()
        self._resampled_hz = 0
        self._ignored = 0

    async def deserialize(self, data: str | bytes) -> Frame | None:
        try:
            frame = await super().deserialize(data) if isinstance(data, bytes) else None
        except (DecodeError, ValueError):
            frame = None
        match frame:
            case InputAudioRawFrame() if _usable(frame):
                return await self._converted(frame)
            case InputTransportMessageFrame() if isinstance(frame.message, dict):
                return frame
        self._ignored += 1
        if self._ignored == 1:
            log.warning("a caller sends frames that are ignored, the first of %s bytes", len(data))
        return None

    async def _converted(self, frame: InputAudioRawFrame) -> InputAudioRawFrame | None:
        audio = frame.audio
        if frame.num_channels == 2:
            audio = np.frombuffer(audio, "<i2").reshape(-1, 2).mean(axis=1).astype("<i2").tobytes()
        if frame.sample_rate != self._rate_hz:
            if frame.sample_rate != self._resampled_hz:
                self._resampler, self._resampled_hz = create_stream_resampler(), frame.sample_rate
            audio = await self._resampler.resample(audio, frame.sample_rate, self._rate_hz)
        return InputAudioRawFrame(audio=audio, sample_rate=self._rate_hz, num_channels=1) if audio else None


def _usable(frame: InputAudioRawFrame) -> bool:
    frame_bytes = 2 * frame.num_channels
    return (
        frame.num_channels in (1, 2)
        and frame.sample_rate in RATES_HZ
        and 0 < len(frame.audio) <= LONGEST_S * frame.sample_rate * frame_bytes
        and len(frame.audio) % frame_bytes == 0
    )
