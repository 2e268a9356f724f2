"""The stub's exact audio, and how a reply is paced."""

import asyncio
import math
import re
import zlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.testing import serving
from antiphon_tts.backends import Speech
from antiphon_tts.backends.stub import StubSynthesizer
from antiphon_tts.reply import Clock
from antiphon_tts.service import SERVICE, build
from antiphon_tts.settings import Settings, read


def sine(word: str, rate: int) -> list[int]:
    hertz = 150 + zlib.crc32(word.encode()) % 200
    count = rate * (60 + 50 * len(word)) // 1000
    return [round(8000 * math.sin(2 * math.pi * hertz * k / rate)) for k in range(count)]


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
async def test_the_stub_says_a_tone_a_word_exact_to_the_sample(stub: Any, rate: int) -> None:
    heard = await stub.hear("Go up", rate=rate)
    expected = sine("go", rate) + sine("up", rate)
    assert len(heard.samples) == len(expected)
    assert max(abs(int(got) - want) for got, want in zip(heard.samples, expected, strict=True)) == 0


async def test_the_stub_knows_its_words_to_the_millisecond(stub: Any) -> None:
    spoken = (await stub.hear("Hi. You all!")).kind("spoken")
    assert [(word.text, word.start_ms, word.end_ms) for word in spoken] == [
        ("Hi.", 0, 160),
        ("You", 160, 370),
        ("all!", 370, 580),
    ]


async def test_the_stub_is_loud_enough_for_an_energy_detector(stub: Any) -> None:
    samples = (await stub.hear("Hello there")).samples
    assert 7900 <= abs(samples).max() <= 8000


async def test_a_profile_delays_each_segments_audio(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TTS_STUB__PROFILE", "rtx5090")
    async with serve("stub") as tts:
        timed = [audio.timings for audio in (await tts.hear("Yes. No.")).kind("audio") if audio.HasField("timings")]
        assert [timing.compute_ms >= 99 for timing in timed] == [True, True]
        assert timed[1].queue_ms >= 90


async def test_an_unknown_profile_or_setting_is_refused(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TTS_STUB__PROFILE", "abacus")
    with pytest.raises(ConfigError, match="abacus"):
        async with serve("stub"):
            pass
    monkeypatch.setenv("ANTIPHON_TTS_SLOST", "1")
    with pytest.raises(ConfigError, match="SLOST"):
        read()


class Held(Clock):
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self.go.acquire()


async def test_a_reply_runs_no_further_ahead_of_its_listener_than_set(serve: Any) -> None:
    clock = Held()
    async with serve("stub", clock=clock, ahead_s=1.0) as tts:
        # A word of 29 letters is 1.51 seconds.
        hearing = asyncio.create_task(tts.hear(" ".join(["a" * 29 + "."] * 4)))
        for segment in (1, 2, 3):
            wait = await clock.asked.get()
            assert tts.served.sample("antiphon_tts_segments_total") == segment
            assert wait == pytest.approx(0.51 if segment == 1 else 1.51)
            clock.at += wait
            clock.go.release()
        heard = await hearing
        assert len(heard.samples) == 4 * 16 * 1510
        assert clock.asked.empty()


class Watched(StubSynthesizer):
    """Notes how urgent each segment is said to be."""

    deadlines: list[float]

    @classmethod
    def load(cls, settings: Settings) -> "Watched":
        loaded = super().load(settings)
        loaded.deadlines = []
        return loaded

    def speak(self, line: Any, voice: Any, deadline: float) -> AsyncGenerator[Speech, None]:
        self.deadlines.append(deadline)
        return super().speak(line, voice, deadline)


async def test_the_first_segment_is_urgent_and_later_ones_are_due_when_the_listener_runs_dry(serve: Any) -> None:
    clock = Held()
    settings = Settings(bind="127.0.0.1:0", grace_s=0.0)
    watched = Watched.load(settings)
    async with serving(SERVICE, build(settings, load=lambda _: watched, clock=clock), settings) as served:
        from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc

        config = tts_pb2.SynthesizeConfig()
        config.audio.encoding = 1
        requests = [tts_pb2.SynthesizeRequest(config=config), tts_pb2.SynthesizeRequest(text="Hi. Hi. Hi.")]
        async for _ in tts_pb2_grpc.TtsServiceStub(served.channel).Synthesize(iter(requests)):
            pass
    assert watched.deadlines == [0.0, pytest.approx(1000.16), pytest.approx(1000.32)]


async def test_metrics_count_segments_audio_and_first_audio(stub: Any) -> None:
    await stub.hear("Hi. Hi.")
    assert stub.served.sample("antiphon_tts_segments_total") == 2
    assert stub.served.sample("antiphon_tts_audio_seconds_total") == pytest.approx(0.32)
    assert stub.served.sample("antiphon_tts_first_audio_seconds_count") == 1
    assert stub.served.sample("antiphon_tts_queue_seconds_count") == 2
    assert stub.served.sample("antiphon_tts_slots_total") == 8


def test_only_the_backend_imports_its_library() -> None:
    source = Path(__file__).parents[1] / "src" / "antiphon_tts"
    library = re.compile(r"^(?:import|from) (?:hibari|onnxruntime)\b", re.M)
    users = {path.name for path in source.rglob("*.py") if library.search(path.read_text())}
    assert users == {"hibari.py"}
