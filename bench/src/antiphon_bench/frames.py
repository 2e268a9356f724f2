"""The frames on the wire between a caller and the orchestrator: Pipecat's protobuf over a WebSocket."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from pipecat.frames.protobufs import frames_pb2 as generated

from .wav import Samples

# Pipecat ships the generated module without its types.
frames_pb2: Any = generated

_RATES_HZ = range(8_000, 48_001)


@dataclass(frozen=True, slots=True)
class AgentAudio:
    """What the agent says: mono, full scale 1."""

    samples: Samples
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Message:
    """One of the server's JSON messages, of any kind."""

    data: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.data.get("type", ""))


@dataclass(frozen=True, slots=True)
class DropAudio:
    """The caller interrupted: what is buffered and not yet played must not be heard."""


def encode_audio(pcm: bytes, rate_hz: int) -> bytes:
    """A frame of the caller's speech, mono s16le."""
    audio = frames_pb2.AudioRawFrame(audio=pcm, sample_rate=rate_hz, num_channels=1)
    encoded: bytes = frames_pb2.Frame(audio=audio).SerializeToString()
    return encoded


def encode_message(message: dict[str, Any]) -> bytes:
    """A frame of one of the caller's own JSON messages."""
    encoded: bytes = frames_pb2.Frame(message=frames_pb2.MessageFrame(data=json.dumps(message))).SerializeToString()
    return encoded


def decode(payload: str | bytes) -> AgentAudio | Message | DropAudio | None:
    """What the server sent; None when it is malformed or of no concern to a caller."""
    if isinstance(payload, str):
        return None
    try:
        frame = frames_pb2.Frame.FromString(payload)
    except DecodeError:
        return None
    match frame.WhichOneof("frame"):
        case "audio":
            return _audio(frame.audio)
        case "message":
            return _message(frame.message.data)
        case "interruption":
            return DropAudio()
    return None


def _audio(frame: Any) -> AgentAudio | None:
    channels = max(1, frame.num_channels)
    usable = len(frame.audio) // (2 * channels) * 2 * channels
    if frame.sample_rate not in _RATES_HZ or usable == 0:
        return None
    pcm = np.frombuffer(frame.audio[:usable], dtype="<i2").reshape(-1, channels)
    return AgentAudio((pcm.mean(axis=1) / 32768.0).astype(np.float32), int(frame.sample_rate))


def _message(text: str) -> Message | DropAudio | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    return DropAudio() if data.get("type") == "antiphon.interrupted" else Message(data)
