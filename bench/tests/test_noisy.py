"""Recordings of known truth, as clean and as noisy as they come: how far a measured latency may be off."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import soxr

from antiphon_bench.noisy import find_in_noise
from antiphon_bench.recording import analyse
from antiphon_bench.testing import Part, recording, tone
from antiphon_bench.wav import Audio, Samples

GAPS_S = (0.12, 0.25, 0.5, 0.8, 1.3, 2.0)
CLEAN_MS, NOISY_MS = 10.0, 30.0


def errors_ms(
    questions: Sequence[Samples], answers: Sequence[Samples], rate_hz: int, snr_db: float | None, lead_s: float = 0.4
) -> list[float]:
    """By how much each turn's latency is off, in a conversation with these gaps after `lead_s` of silence."""
    parts, true_ms, at_s = [], [], lead_s
    for gap_s, said, reply in zip(GAPS_S, itertools.cycle(questions), itertools.cycle(answers), strict=False):
        start_s = at_s + len(said) / rate_hz + gap_s
        parts += [Part(0, at_s, said), Part(1, start_s, reply)]
        true_ms.append(gap_s * 1000)
        at_s = start_s + len(reply) / rate_hz + 1.3
    clean = recording(parts, rate_hz)
    spoken = np.concatenate([part.samples for part in parts])
    noise = np.zeros_like(clean.samples)
    if snr_db is not None:
        deviation = np.sqrt(np.mean(np.square(spoken))) * 10 ** (-snr_db / 20)
        noise = np.random.default_rng(round(snr_db)).normal(0, deviation, noise.shape).astype(np.float32)
    turns = analyse(Audio(clean.samples + noise, rate_hz)).turns
    assert len(turns) == len(GAPS_S), turns
    return [(turn.v2v_ms or 0.0) - true for turn, true in zip(turns, true_ms, strict=True)]


@pytest.fixture(scope="module")
def spoken() -> list[Samples]:
    """Two questions and two answers by a real voice at 24 kHz, cut to what is over -25 dB of its peak."""
    voice = pytest.importorskip("hibari").Hibari()
    texts = (
        "What is the capital of Italy?",
        "Can you help me with my order, please?",
        "You asked about Italy.",
        "Yes.",
    )
    said = []
    for text in texts:
        samples = np.asarray(voice(text, seed=1), np.float32)
        loud = np.flatnonzero(np.abs(samples) >= np.abs(samples).max() * 10 ** (-25 / 20))
        said.append(samples[loud[0] : loud[-1] + 1])
    return said


def telephone(samples: Samples, rate_hz: int) -> Samples:
    """As a telephone carries it: 8 kHz, 300 to 3400 Hz, in 8 bits of mu-law (G.711)."""
    narrow = soxr.resample(samples, rate_hz, 8_000)
    spectrum, hz = np.fft.rfft(narrow), np.fft.rfftfreq(len(narrow), 1 / 8_000)
    narrow = np.fft.irfft(np.where((hz >= 300) & (hz <= 3400), spectrum, 0), len(narrow))
    companded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    companded = np.round(companded * 127) / 127
    return (np.sign(companded) * (np.power(256, np.abs(companded)) - 1) / 255).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("lead_s", [0.4, 7.0])
def test_a_clean_recording_is_measured_within_10_ms(rate_hz: int, lead_s: float) -> None:
    found = errors_ms([tone(1.2, rate_hz)], [tone(0.8, rate_hz, 500.0)], rate_hz, None, lead_s)
    assert max(map(abs, found)) <= CLEAN_MS, found


@pytest.mark.slow
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("snr_db", [30.0, 20.0, 15.0, 10.0])
def test_under_noise_it_is_measured_within_30_ms(rate_hz: int, snr_db: float) -> None:
    found = errors_ms([tone(1.2, rate_hz)], [tone(0.8, rate_hz, 500.0)], rate_hz, snr_db)
    assert max(map(abs, found)) <= NOISY_MS, found


@pytest.mark.real
@pytest.mark.parametrize("snr_db", [20.0, 10.0])
def test_a_voice_under_noise_is_measured_within_30_ms(spoken: list[Samples], snr_db: float) -> None:
    found = errors_ms(spoken[:2], spoken[2:], 24_000, snr_db)
    assert max(map(abs, found)) <= NOISY_MS, found


@pytest.mark.parametrize("snr_db", [None, 10.0])
def test_on_the_telephone_it_is_measured_as_well(snr_db: float | None) -> None:
    said, reply = telephone(tone(1.2, 48_000, 700.0), 48_000), telephone(tone(0.8, 48_000, 500.0), 48_000)
    found = errors_ms([said], [reply], 8_000, snr_db)
    assert max(map(abs, found)) <= (CLEAN_MS if snr_db is None else NOISY_MS), found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_nothing_stands_out_of_a_minute_of_noise(rate_hz: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.05, 60 * rate_hz).astype(np.float32)
    assert find_in_noise(noise, rate_hz) == []


@pytest.mark.parametrize("samples", [0, 100])
def test_too_little_to_tell_holds_no_speech(samples: int) -> None:
    assert find_in_noise(np.ones(samples, np.float32), 16_000) == []
