from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import InputAudioRawFrame, InputTransportMessageFrame
from pipecat.frames.protobufs import frames_pb2 as generated
from prometheus_client import CollectorRegistry
from test_door import At, Session

from antiphon_orchestrator.agents import Agent
from antiphon_orchestrator.wire import CallerFrames

frames_pb2: Any = generated


def wired(pcm: bytes, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    audio = frames_pb2.AudioRawFrame(audio=pcm, sample_rate=rate_hz, num_channels=channels)
    return bytes(frames_pb2.Frame(audio=audio).SerializeToString())


def message(data: str) -> bytes:
    return bytes(frames_pb2.Frame(message=frames_pb2.MessageFrame(data=data)).SerializeToString())


@pytest.fixture
def at() -> At:
    return At(Session(Agent(system_prompt="x")), CollectorRegistry())


@pytest.fixture
def callers(at: At) -> CallerFrames:
    return CallerFrames(16_000, at.door)


async def test_audio_at_our_rate_is_taken_as_it_is(callers: CallerFrames) -> None:
    frame = await callers.deserialize(wired(b"\x01\x02" * 320))
    assert isinstance(frame, InputAudioRawFrame)
    assert (frame.audio, frame.sample_rate, frame.num_channels) == (b"\x01\x02" * 320, 16_000, 1)


async def test_stereo_becomes_the_mean_of_its_channels(callers: CallerFrames) -> None:
    stereo = np.array([[100, 300], [-200, 0]], "<i2").tobytes()
    frame = await callers.deserialize(wired(stereo, channels=2))
    assert isinstance(frame, InputAudioRawFrame)
    assert np.frombuffer(frame.audio, "<i2").tolist() == [200, -100] and frame.num_channels == 1


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
async def test_other_rates_become_ours_and_hardly_any_is_held_back(callers: CallerFrames, rate_hz: int) -> None:
    heard = 0
    for _ in range(100):  # two seconds
        frame = await callers.deserialize(wired(bytes(rate_hz // 50 * 2), rate_hz))
        if isinstance(frame, InputAudioRawFrame):
            assert frame.sample_rate == 16_000
            heard += len(frame.audio) // 2
    assert 30_000 < heard <= 32_000  # the resampler holds up to an eighth of a second back


def floats(samples: int) -> bytes:
    return np.sin(np.arange(samples) / 3).astype("<f4").tobytes()


REFUSED: dict[str, list[bytes | str]] = {
    "malformed": [b"", b"\xff\xff\xff", "text", message("not JSON"), message("[1]")],
    "type_not_allowed": [message('{"type": "hello"}')],
    "frame_not_allowed": [
        bytes(frames_pb2.Frame(text=frames_pb2.TextFrame(text="Hello.")).SerializeToString()),
        bytes(frames_pb2.Frame(transcription=frames_pb2.TranscriptionFrame(text="Hello.")).SerializeToString()),
        bytes(frames_pb2.Frame(interruption=frames_pb2.InterruptionFrame()).SerializeToString()),
    ],
    "audio_empty": [wired(b"")],
    "audio_odd_length": [wired(b"\x00"), wired(bytes(642), channels=2)],
    "audio_rate": [wired(bytes(640), rate_hz=0), wired(bytes(640), rate_hz=96_000)],
    "audio_channels": [wired(bytes(640), channels=0), wired(bytes(640), channels=3)],
    "audio_too_long": [wired(bytes(2 * 16_001))],
    "audio_float32": [wired(floats(320)), wired(floats(640), channels=2)],
    "audio_container": [wired(b"RIFF\x00\x00\x00\x00WAVE" + bytes(640))],
}


@pytest.mark.parametrize(("reason", "data"), [(reason, one) for reason, data in REFUSED.items() for one in data])
async def test_what_is_neither_usable_audio_nor_a_message_is_refused_by_reason_and_told(
    at: At, callers: CallerFrames, reason: str, data: bytes | str
) -> None:
    assert await callers.deserialize(data) is None
    assert at.session.worker.errors == [reason]
    assert at.refused(reason, "audio" if reason.startswith("audio") else "messages") == 1
    assert isinstance(await callers.deserialize(wired(bytes(640))), InputAudioRawFrame)


async def test_a_clients_message_goes_through_the_door(at: At, callers: CallerFrames) -> None:
    assert await callers.deserialize(message('{"label": "rtvi-ai", "type": "client-ready", "id": "1"}')) is None
    (frame,) = at.session.worker.frames
    assert isinstance(frame, InputTransportMessageFrame) and frame.message["type"] == "client-ready"


async def test_every_kind_of_frame_that_pipecat_has_is_decided_here(at: At, callers: CallerFrames) -> None:
    for kind in frames_pb2.Frame.DESCRIPTOR.oneofs_by_name["frame"].fields:
        frame = frames_pb2.Frame()
        getattr(frame, kind.name).SetInParent()
        assert await callers.deserialize(frame.SerializeToString()) is None
        assert len(at.session.worker.frames) == len(at.session.worker.errors)
