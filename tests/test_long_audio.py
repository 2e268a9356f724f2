"""Long silence, long noise, long speech."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from platform_fixture import platform, until
from raw_caller import dialled, speech
from weights import needs_weights

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon.common.v1 import audio_pb2
from antiphon.turn.v1 import turn_pb2, turn_pb2_grpc
from antiphon_bench import questions
from antiphon_runtime.testing import Served, collect

RATE = 16_000
PCM = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE)
CONFIGS: dict[str, Any] = {
    "asr": asr_pb2.TranscribeRequest(config=asr_pb2.TranscribeConfig(audio=PCM, interim_results=True)),
    "turn": turn_pb2.DetectRequest(config=turn_pb2.DetectConfig(audio=PCM)),
}
COMMIT = asr_pb2.TranscribeRequest(finalize=asr_pb2.Finalize(id=1, mode=asr_pb2.FINALIZE_MODE_COMMIT))
SILENCE = bytes(2 * RATE)


def noise(deviation: float) -> bytes:
    """A second of white noise."""
    return np.random.default_rng(1).normal(0, deviation, RATE).astype("<i2").tobytes()


async def hear(service: str, served: Served, audio: AsyncIterator[bytes]) -> list[Any]:
    """What a listener says to the audio, sent as fast as it is taken; a recognizer is asked for its text at the end."""

    async def requests() -> AsyncIterator[Any]:
        config = CONFIGS[service]
        yield config
        async for pcm in audio:
            yield type(config)(audio=pcm)
        if service == "asr":
            yield COMMIT

    if service == "asr":
        call = asr_pb2_grpc.AsrServiceStub(served.channel).Transcribe(requests())
    else:
        call = turn_pb2_grpc.TurnServiceStub(served.channel).Detect(requests())
    events, error = await collect(call)
    assert error is None, error
    assert events[0].WhichOneof("event") == "ready"
    return events[1:]


async def seconds(pcm: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield pcm


def said_nothing(service: str, events: list[Any]) -> bool:
    if service == "turn":
        return not events
    return [event.WhichOneof("event") for event in events] == ["finalized"] and events[0].finalized.empty


@pytest.mark.parametrize(
    ("second", "minutes"), [(SILENCE, 10), (noise(40), 2)], ids=["silence", "noise that is not loud"]
)
@pytest.mark.parametrize("service", ["asr", "turn"])
async def test_minutes_without_speech_are_no_turn_and_are_not_kept(service: str, second: bytes, minutes: int) -> None:
    grown_bytes = 0

    async def audio() -> AsyncIterator[bytes]:
        nonlocal grown_bytes
        async for pcm in seconds(second, 60):
            yield pcm
        tracemalloc.start()
        async for pcm in seconds(second, 60 * (minutes - 1)):
            yield pcm
        grown_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    async with platform() as at:
        events = await hear(service, at.services[service], audio())
    assert said_nothing(service, events)
    # A minute of samples has two megabytes, of which a listener may keep the last half minute.
    assert grown_bytes < 1_500_000


async def test_a_sentence_of_a_minute_is_one_turn_with_one_answer() -> None:
    async with platform() as at, dialled(at.url) as caller:
        await caller.until_session()
        for second in range(60):
            await caller.say(speech(1.0))
            # Faster than it is spoken, but no faster than it is heard: more than 10 s ahead is refused.
            await until(lambda n=second: at.services["asr"].sample("antiphon_asr_audio_seconds_total") >= n - 3, 30)
            await until(lambda n=second: at.services["turn"].sample("antiphon_turn_hearing_seconds_count") >= n - 3, 30)
        turn = await caller.turn()
        assert (turn["turn_id"], turn["outcome"], turn["heard"]) == (1, "answered", "Hello there.")
        spoken = next(span for span in turn["spans"] if span["name"] == "speech")
        assert spoken["end_ms"] - spoken["start_ms"] > 0
        assert (at.rpcs("llm", "ok"), at.rpcs("tts", "ok")) == (1, 1)
        heard_s = at.services["asr"].sample("antiphon_asr_audio_seconds_total")
        assert heard_s >= 60.4


REAL = {"asr": "moonshine", "turn": "smart-turn"}


@pytest.mark.real
@needs_weights
@pytest.mark.parametrize("second", [SILENCE, noise(300), noise(3000)], ids=["silence", "noise", "loud noise"])
async def test_the_real_models_hear_no_speech_in_a_minute_without(second: bytes) -> None:
    async with platform(backends=REAL) as at:
        told = await asyncio.gather(*(hear(name, at.services[name], seconds(second, 60)) for name in REAL))
    for name, events in zip(REAL, told, strict=True):
        assert said_nothing(name, events), (name, events[:5])


@pytest.mark.real
@needs_weights
async def test_the_real_models_make_one_utterance_of_a_minute_of_speech() -> None:
    minute = without_pauses(60)
    said = sf.info(questions()[0]).duration
    pieces = [minute[at : at + 2 * RATE] for at in range(0, len(minute), 2 * RATE)]

    async def audio() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with platform(backends=REAL) as at:
        edges = await hear("turn", at.services["turn"], audio())
        texts = await hear("asr", at.services["asr"], audio())
    assert [event.WhichOneof("event") for event in edges] == ["speech_started"]
    finals = [event.finalized for event in texts if event.WhichOneof("event") == "finalized"]
    assert len(finals) == 1
    assert finals[0].text.lower().count("italy") >= 60 / said / 2


def without_pauses(length_s: int) -> bytes:
    """The first question again and again, with nothing quiet in between."""
    samples, rate = sf.read(questions()[0], dtype="int16")
    assert rate == RATE
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    loud = frames[np.abs(frames).max(axis=1) > 600].reshape(-1)
    return np.resize(loud, length_s * RATE).astype("<i2").tobytes()
