"""The audio that a caller gets does not depend on the pieces that the model's samples came in."""

import random

import numpy as np
import pytest

from antiphon_tts.backends.audio import Finisher

RATE = 22_050


def tone(seconds: float) -> np.ndarray:
    return (0.5 * np.sin(np.arange(int(RATE * seconds)) * 0.1)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(RATE * seconds), np.float32)


def finished(samples: np.ndarray, cuts: list[int], rate_hz: int) -> tuple[bytes, Finisher]:
    finisher = Finisher(RATE, rate_hz, lead_ms=40, most_lead_ms=500)
    pcm = b"".join(finisher.push(piece) for piece in np.split(samples, cuts))
    return pcm + finisher.finish(), finisher


@pytest.mark.parametrize("rate_hz", [8000, 16_000, RATE, 24_000, 48_000])
def test_the_bytes_do_not_depend_on_the_pieces(rate_hz: int) -> None:
    samples = np.concatenate((silence(0.3), tone(0.7), silence(0.1), tone(0.2)))
    whole, _ = finished(samples, [], rate_hz)
    assert len(whole) / 2 / rate_hz == pytest.approx(1.04, abs=0.006)
    rng = random.Random(1)
    for _ in range(5):
        cuts = sorted(rng.choices(range(len(samples) + 1), k=12))
        assert finished(samples, cuts, rate_hz)[0] == whole


def test_silence_before_the_first_sound_is_cut_to_the_lead_and_places_follow() -> None:
    pcm, finisher = finished(np.concatenate((silence(0.3), tone(0.5))), [1000], RATE)
    heard = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2")) > 300)[0]
    assert heard / RATE == pytest.approx(0.04, abs=0.005)
    assert finisher.place(RATE * 0.3) / RATE == pytest.approx(0.04, abs=0.005)
    assert finisher.place(0) == 0


def test_sound_at_once_loses_nothing() -> None:
    pcm, finisher = finished(tone(0.5), [10, 11], RATE)
    assert pcm == np.rint(tone(0.5) * 32767).astype("<i2").tobytes()
    assert finisher.dropped == 0


def test_a_voice_too_quiet_to_be_found_is_passed_on_in_time() -> None:
    finisher = Finisher(RATE, RATE, lead_ms=40, most_lead_ms=500)
    whisper = tone(2.0) * 0.001
    assert finisher.push(whisper[: int(RATE * 0.5)]) == b""
    assert finisher.push(whisper[int(RATE * 0.5) : RATE]) != b""
    assert finisher.dropped <= RATE * 0.51


def test_of_a_segment_without_any_sound_nothing_is_left() -> None:
    assert finished(silence(0.2), [], RATE)[0] == b""
    assert finished(silence(0.0), [], 16_000)[0] == b""


def test_what_is_too_loud_is_clipped() -> None:
    assert np.frombuffer(finished(tone(0.1) * 9, [], RATE)[0], "<i2").max() == 32767


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_of_a_first_window_hardly_anything_is_held_back(rate_hz: int) -> None:
    finisher = Finisher(RATE, rate_hz, lead_ms=40, most_lead_ms=500)
    window = tone(0.0929)
    heard_s = len(finisher.push(window)) / 2 / rate_hz
    assert len(window) / RATE - heard_s <= 0.0021


def test_sound_that_ends_between_windows_is_heard_to_its_end() -> None:
    pcm, _ = finished(np.concatenate((tone(0.3), silence(0.1))), [1000, 5000], 8_000)
    heard = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2")) > 300)
    assert heard[-1] / 8_000 == pytest.approx(0.3, abs=0.003)
    assert len(pcm) / 2 / 8_000 == pytest.approx(0.4, abs=0.001)
