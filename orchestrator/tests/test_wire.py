from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import InputAudioRawFrame, InputTransportMessageFrame
from pipecat.frames.protobufs import frames_pb2 as generated
from prometheus_client import CollectorRegistry
from test_door import At, Session

from antiphon_orchestrator import wire
from antiphon_orchestrator.agents import Agent
from antiphon_orchestrator.manners import phrases
from antiphon_orchestrator.session import OUTPUT_RATE_HZ
from antiphon_orchestrator.wire import CallerFrames
from antiphon_runtime.resampling import StreamResampler

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


@pytest.mark.parametrize("frame_ms", [10, 20])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000])
async def test_a_frame_of_another_rate_becomes_as_many_milliseconds_of_ours(
    callers: CallerFrames, rate_hz: int, channels: int, frame_ms: int
) -> None:
    heard, sent = 0, 0
    for _ in range(100):
        samples = rate_hz * frame_ms // 1000
        frame = await callers.deserialize(wired(bytes(samples * 2 * channels), rate_hz, channels))
        assert isinstance(frame, InputAudioRawFrame) and frame.sample_rate == 16_000
        heard, sent = heard + len(frame.audio) // 2, sent + samples
        assert 0 <= sent / rate_hz - heard / 16_000 < 1 / 16_000


@pytest.mark.parametrize(("rate_hz", "delay_samples"), [(8_000, 34), (44_100, 17), (48_000, 17)])
async def test_a_word_is_heard_with_the_frame_that_ends_it_two_milliseconds_late_at_most(
    callers: CallerFrames, rate_hz: int, delay_samples: int
) -> None:
    word = np.sin(np.arange(rate_hz * 3 // 10) * 2 * np.pi * 440 / rate_hz) * 12_000
    heard = b""
    for piece in np.split(word.astype("<i2"), 15):
        frame = await callers.deserialize(wired(piece.tobytes(), rate_hz))
        assert isinstance(frame, InputAudioRawFrame)
        heard += frame.audio
    samples = np.frombuffer(heard, "<i2").astype(float)
    assert len(samples) == 4_800 and not samples[:delay_samples].any()
    ideal = np.sin(np.arange(len(samples) - delay_samples) * 2 * np.pi * 440 / 16_000) * 12_000
    assert np.sqrt(np.mean((samples[delay_samples:] - ideal) ** 2)) < 30


async def test_a_rate_may_change_in_the_middle_of_a_call_and_nothing_is_lost(callers: CallerFrames) -> None:
    heard, sent, changes = b"", 0.0, (8_000, 48_000, 16_000, 44_100, 11_025, 16_000)
    for rate_hz in changes:
        for _ in range(5):
            frame = await callers.deserialize(wired(np.full(rate_hz // 50, 1000, "<i2").tobytes(), rate_hz))
            heard += frame.audio if isinstance(frame, InputAudioRawFrame) else b""
            sent += rate_hz // 50 / rate_hz
    samples = np.frombuffer(heard, "<i2")
    assert np.count_nonzero(np.abs(samples - 1000.0) < 50) / 16_000 == pytest.approx(sent, abs=0.001)
    # Each change begins with the resampler's delay.
    assert 0 <= len(samples) / 16_000 - sent <= 0.0022 * len(changes)


async def test_a_rate_that_changes_with_every_frame_is_refused_and_costs_few_resamplers(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Counted(StreamResampler):
        def __init__(self, from_hz: int, *args: Any, **kwargs: Any) -> None:
            made.append(from_hz)
            super().__init__(from_hz, *args, **kwargs)

    monkeypatch.setattr(wire, "StreamResampler", Counted)
    callers = CallerFrames(16_000, at.door, lambda: at.now_s)
    for number in range(100):
        await callers.deserialize(wired(bytes(320), 8_000 + number))
    assert len(made) == 1 + 8
    assert at.refused("audio_rate", "audio") == 92 and at.session.worker.errors == ["audio_rate"]
    at.now_s += 1.0
    frames = [
        await callers.deserialize(wired(bytes(2 * rate // 100), rate)) for rate in (8_000, 44_100, 44_100, 48_000)
    ]
    assert [bool(frame) for frame in frames] == [True, True, True, False]


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


def test_the_agents_own_phrases_need_no_resampling_on_their_way_out() -> None:
    assert phrases.RATE_HZ == OUTPUT_RATE_HZ


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
