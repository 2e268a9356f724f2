"""The stub's exact output, which the pipeline's tests rely on."""

import os
import subprocess
import sys
from typing import Any

import pytest

from antiphon.turn.v1 import turn_pb2 as pb
from antiphon_runtime.errors import ConfigError
from antiphon_turn.backends.stub import StubDetector
from antiphon_turn.settings import Settings, read
from antiphon_turn.testing import RATE, config, pieces, serve, silence, tone

# 1 s of silence, 480 ms of speech, 100 ms of gap, 500 ms of speech, and 1.5 s of silence.
SPOKEN = silence(1000) + tone(480) + silence(100) + tone(500) + silence(1500)
END = 2080 * 16
TOLD = [
    ("started", 16_000),
    ("paused", 1480 * 16, 100),
    ("started", 1580 * 16),
    ("paused", END, 100),
    ("verdict", END, 96, 0.1, False),
    ("verdict", END, 200, 0.9, True),
    ("verdict", END, 500, 0.9, True),
    ("verdict", END, 1200, 0.9, True),
]


def without_verdicts_of(pause: int, events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A verdict that speech may have overtaken is left out."""
    return [event for event in events if event[:2] != ("verdict", pause)]


@pytest.mark.parametrize("ms", [7, 20, 500])
async def test_edges_are_exact_and_each_silence_has_one_verdict_however_the_audio_is_cut(ms: int) -> None:
    async with serve("stub") as turn:
        events = await turn.events([config(), *pieces(SPOKEN, ms)])
        assert without_verdicts_of(1480 * 16, events) == TOLD


async def test_the_silences_are_the_callers() -> None:
    async with serve("stub") as turn:
        events = await turn.events([config([40, 300]), *pieces(tone(100) + silence(400), 20)])
        assert events == [
            ("started", 0),
            ("paused", 1600, 40),
            ("verdict", 1600, 40, 0.1, False),
            ("verdict", 1600, 300, 0.9, True),
        ]


async def test_quiet_audio_and_a_click_are_no_speech() -> None:
    async with serve("stub") as turn:
        assert await turn.events([config(), *pieces(tone(1000, level=500) + tone(20) + silence(1500), 20)]) == []


@pytest.mark.parametrize("rate", [8000, 24_000, 48_000])
async def test_positions_are_at_the_streams_rate(rate: int) -> None:
    pcm = tone(200) + silence(200)  # as many samples, whatever the rate
    async with serve("stub") as turn:
        events = await turn.events([config([100], rate=rate), *pieces(pcm + bytes(rate), 20)])
        assert events[:2] == [("started", 0), ("paused", -(-3200 // (rate // 50)) * (rate // 50), 100)]


async def test_the_first_complete_silence_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TURN_STUB__COMPLETE_AFTER_MS", "500")
    async with serve("stub") as turn:
        events = await turn.events([config(), *pieces(tone(100) + silence(1200), 20)])
        assert [event[-1] for event in events[2:]] == [False, False, True, True]


async def test_a_profile_delays_verdicts_and_the_timings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TURN_STUB__PROFILE", "dgx-spark")
    async with serve("stub") as turn:
        call = turn.stub.Detect(iter([config([96]), pb.DetectRequest(audio=tone(100) + silence(100))]))
        verdict = [event async for event in call][-1].verdict
        assert verdict.timings.compute_ms >= 18
        assert 0 <= verdict.timings.queue_ms < verdict.timings.compute_ms + 1000
        assert turn.served.sample("antiphon_turn_verdicts_total", outcome="incomplete") == 1
        assert turn.served.sample("antiphon_turn_verdict_seconds_count") == 1


def test_an_unknown_profile_is_refused_and_the_known_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TURN_STUB__PROFILE", "abacus")
    with pytest.raises(ConfigError, match=r"abacus.*dgx-spark, h100, rtx5090"):
        StubDetector.load(Settings(bind="127.0.0.1:0"))


def test_settings_of_other_backends_are_left_to_them_and_a_misspelt_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTIPHON_TURN_SMART_TURN__START_MS", "200")
    monkeypatch.setenv("ANTIPHON_TURN_SLOTS", "3")
    assert read().slots == 3
    monkeypatch.setenv("ANTIPHON_TURN_SLOST", "3")
    with pytest.raises(ConfigError, match="ANTIPHON_TURN_SLOST"):
        read()


def test_the_command_refuses_a_backend_that_is_not_there() -> None:
    env = {**os.environ, "ANTIPHON_TURN_BACKEND": "oracle", "ANTIPHON_TURN_BIND": "127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-m", "antiphon_turn"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "oracle" in done.stderr and "smart-turn" in done.stderr


def test_the_stub_needs_no_model_library() -> None:
    code = "import sys, antiphon_turn.backends.stub, antiphon_turn.service; "
    code += "print({'numpy', 'onnxruntime', 'pipecat'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


async def test_it_hears_a_real_voice(say: Any) -> None:
    said = say("I would like to book a table for two.")
    async with serve("stub") as turn:
        events = await turn.events([config([500]), *pieces(silence(1000) + said.pcm + silence(1000), 20)])
    (start, begin), (pause, end, _), verdict = events[0], events[-2], events[-1]
    assert (start, pause) == ("started", "paused")
    assert abs(begin - RATE - said.first) <= 640
    assert abs(end - RATE - said.last) <= 640
    assert verdict == ("verdict", end, 500, 0.9, True)
