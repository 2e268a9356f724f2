"""What callers send over the WebSocket, checked and converted before anything else sees it."""

import json
import logging
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from pipecat.frames.frames import Frame, InputAudioRawFrame, InputTransportMessageFrame
from pipecat.frames.protobufs import frames_pb2 as generated
from pipecat.serializers.protobuf import ProtobufFrameSerializer

from antiphon_runtime.resampling import StreamResampler

log = logging.getLogger(__name__)

# Pipecat ships the generated module without its types.
frames_pb2: Any = generated

RATES_HZ = range(8_000, 48_001)
LONGEST_S = 1.0
# The longest frame of the highest rate, in stereo, and room for its wrapping. A longer message ends the call.
MAX_MESSAGE_BYTES = 256 * 1024


class CallerFrames(ProtobufFrameSerializer):
    """Pipecat's protobuf frames, from a caller who may send anything.

    Takes PCM of 8 to 48 kHz, mono or stereo, up to a second a frame, as mono at `rate_hz`; and client messages.
    Everything else is ignored: a caller may neither end the call by a broken frame nor put words into it.
    """

    def __init__(self, rate_hz: int) -> None:
        super().__init__()
        self._rate_hz = rate_hz
        self._resampler = StreamResampler(rate_hz, rate_hz)
        self._ignored = 0

    async def deserialize(self, data: str | bytes) -> Frame | None:
        try:
            sent = frames_pb2.Frame.FromString(data) if isinstance(data, bytes) else frames_pb2.Frame()
        except DecodeError:
            sent = frames_pb2.Frame()
        match sent.WhichOneof("frame"):
            case "audio" if _usable(sent.audio):
                return self._audio(sent.audio)
            case "message" if (message := _object(sent.message.data)) is not None:
                return InputTransportMessageFrame(message=message)
        self._ignored += 1
        if self._ignored == 1:
            log.warning("a caller sends frames that are ignored, the first of %s bytes", len(data))
        return None

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


def _usable(sent: Any) -> bool:
    sample_bytes = 2 * sent.num_channels
    return (
        sent.num_channels in (1, 2)
        and sent.sample_rate in RATES_HZ
        and 0 < len(sent.audio) <= LONGEST_S * sent.sample_rate * sample_bytes
        and len(sent.audio) % sample_bytes == 0
    )


def _object(text: str) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
