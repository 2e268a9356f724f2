from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import InputAudioRawFrame, InputTransportMessageFrame
from pipecat.frames.protobufs import frames_pb2 as generated

from antiphon_orchestrator.wire import CallerFrames

frames_pb2: Any = generated


def wired(pcm: bytes, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    audio = frames_pb2.AudioRawFrame(audio=pcm, sample_rate=rate_hz, num_channels=channels)
    return bytes(frames_pb2.Frame(audio=audio).SerializeToString())


def message(data: str) -> bytes:
    return bytes(frames_pb2.Frame(message=frames_pb2.MessageFrame(data=data)).SerializeToString())


@pytest.fixture
def callers() -> CallerFrames:
    return CallerFrames(16_000, door)


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


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff\xff",
        "text",
        wired(b""),
        wired(b"\x00"),
        wired(bytes(640), rate_hz=0),
        wired(bytes(640), rate_hz=96_000),
        wired(bytes(640), channels=0),
        wired(bytes(640), channels=3),
        wired(bytes(642), channels=2),
        wired(bytes(2 * 16_001)),
        message("not JSON"),
        message("[1]"),
        bytes(frames_pb2.Frame(text=frames_pb2.TextFrame(text="Hello.")).SerializeToString()),
        bytes(frames_pb2.Frame(transcription=frames_pb2.TranscriptionFrame(text="Hello.")).SerializeToString()),
    ],
    ids=str,
)
async def test_what_is_neither_usable_audio_nor_a_message_is_ignored(callers: CallerFrames, data: bytes | str) -> None:
    assert await callers.deserialize(data) is None
    assert isinstance(await callers.deserialize(wired(bytes(640))), InputAudioRawFrame)


async def test_a_clients_message_is_taken(callers: CallerFrames) -> None:
    frame = await callers.deserialize(message('{"type": "hello"}'))
    assert isinstance(frame, InputTransportMessageFrame) and frame.message == {"type": "hello"}
