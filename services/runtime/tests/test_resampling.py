"""Delay, quality and bookkeeping of the one resampler."""

import random
from pathlib import Path

import numpy as np
import pytest

from antiphon_runtime.resampling import MAX_DELAY_SAMPLES, StreamResampler

PAIRS = [
    (8_000, 16_000),
    (11_025, 16_000),
    (9_973, 16_000),
    (22_050, 16_000),
    (32_000, 16_000),
    (44_100, 16_000),
    (47_999, 16_000),
    (48_000, 16_000),
    (16_000, 8_000),
    (24_000, 8_000),
    (22_050, 24_000),
    (24_000, 48_000),
]
AMPLITUDE = 12_000
TASKS = Path("/proc/self/task")


def sine(hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.rint(AMPLITUDE * np.sin(2 * np.pi * hz * at)).astype("<i2")


def pieces(samples: np.ndarray, length: int) -> list[bytes]:
    return [samples[start : start + length].tobytes() for start in range(0, len(samples), length)]


def converted(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    resampler = StreamResampler(from_hz, to_hz)
    pcm = b"".join(map(resampler.resample, pieces(samples, from_hz // 50))) + resampler.flush()
    return np.frombuffer(pcm, "<i2").astype(float)


def fitted(samples: np.ndarray, hz: float, rate_hz: int) -> tuple[complex, float]:
    """The sine's complex amplitude, 1 for the input's, in the middle of `samples`; and the signal-to-noise ratio."""
    first, last = len(samples) // 4, 3 * len(samples) // 4
    angle = 2 * np.pi * hz * np.arange(first, last) / rate_hz
    basis = np.stack((np.sin(angle), np.cos(angle)), axis=1)
    weights, *_ = np.linalg.lstsq(basis, samples[first:last], rcond=None)
    signal = basis @ weights
    noise = np.mean((samples[first:last] - signal) ** 2)
    return complex(*weights) / AMPLITUDE, float(10 * np.log10(np.mean(signal**2) / noise))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("frame_ms", [10, 20])
def test_never_lacks_more_than_two_milliseconds_not_even_of_the_first_frames(
    from_hz: int, to_hz: int, frame_ms: int
) -> None:
    resampler, taken_s, given_s = StreamResampler(from_hz, to_hz), 0.0, 0.0
    for piece in pieces(sine(440, from_hz), from_hz * frame_ms // 1000):
        taken_s += len(piece) / 2 / from_hz
        given_s += len(resampler.resample(piece)) / 2 / to_hz
        # Half a sample more: the last one may lie between two of the input's.
        assert taken_s - given_s <= MAX_DELAY_SAMPLES / min(from_hz, to_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_click_stays_where_it_was(from_hz: int, to_hz: int) -> None:
    samples = np.zeros(from_hz, "<i2")
    samples[from_hz // 2] = 20_000
    output = converted(samples, from_hz, to_hz)
    at = float(np.sum(np.arange(len(output)) * output**2) / np.sum(output**2))
    assert at / to_hz == pytest.approx((from_hz // 2) / from_hz, abs=0.5 / min(from_hz, to_hz))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("share", [0.03, 0.2, 0.425])
def test_speech_keeps_its_level_its_phase_and_75_db(from_hz: int, to_hz: int, share: float) -> None:
    hz = share * min(from_hz, to_hz)
    amplitude, snr_db = fitted(converted(sine(hz, from_hz), from_hz, to_hz), hz, to_hz)
    assert snr_db > 75
    assert -0.55 < 20 * np.log10(abs(amplitude)) < 0.1
    assert abs(np.angle(amplitude)) < 0.01


@pytest.mark.parametrize(("from_hz", "to_hz"), [pair for pair in PAIRS if pair[0] > 1.2 * pair[1]])
@pytest.mark.parametrize("share", [0.53, 0.55, 0.6])
def test_what_the_lower_rate_cannot_hold_does_not_come_back_as_an_alias(from_hz: int, to_hz: int, share: float) -> None:
    output = converted(sine(share * to_hz, from_hz), from_hz, to_hz)
    middle = output[len(output) // 4 : 3 * len(output) // 4]
    assert np.sqrt(np.mean(middle**2)) < AMPLITUDE / np.sqrt(2) * 10 ** (-57 / 20)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_the_pieces_do_not_change_the_result(from_hz: int, to_hz: int) -> None:
    noise = np.random.default_rng(1).integers(-20_000, 20_000, from_hz).astype("<i2")
    whole = StreamResampler(from_hz, to_hz)
    expected = whole.resample(noise.tobytes()) + whole.flush()
    assert abs(len(expected) // 2 - to_hz) <= 1
    for seed in range(3):
        rng, resampler, start, pcm = random.Random(seed), StreamResampler(from_hz, to_hz), 0, b""
        while start < len(noise):
            length = rng.choice((1, 7, 80, 441, from_hz // 50, from_hz // 3))
            pcm += resampler.resample(noise[start : start + length].tobytes())
            start += length
        assert pcm + resampler.flush() == expected


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("count", [1, 2, 15, 16, 40, 80, 161])
def test_a_stream_of_any_length_is_whole_after_a_flush_and_the_next_begins_anew(
    from_hz: int, to_hz: int, count: int
) -> None:
    resampler, samples = StreamResampler(from_hz, to_hz), np.full(count, 1000, "<i2")
    first = resampler.resample(samples.tobytes()) + resampler.flush()
    assert abs(len(first) / 2 - count * to_hz / from_hz) <= 1
    assert resampler.flush() == b""
    assert resampler.resample(samples.tobytes()) + resampler.flush() == first


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_fixed_delay_makes_each_piece_as_long_as_it_was(from_hz: int, to_hz: int) -> None:
    samples = sine(0.2 * min(from_hz, to_hz), from_hz, 0.5)
    plain, delayed = StreamResampler(from_hz, to_hz), StreamResampler(from_hz, to_hz, fixed_delay=True)
    taken, output = 0, b""
    for piece in pieces(samples, from_hz // 100):
        taken += len(piece) // 2
        output += delayed.resample(piece)
        assert len(output) // 2 == taken * to_hz // from_hz
    lead = -(-MAX_DELAY_SAMPLES * to_hz // min(from_hz, to_hz))
    assert output + delayed.flush() == bytes(2 * lead) + plain.resample(samples.tobytes()) + plain.flush()
    assert delayed.resample(samples.tobytes()) == output


def test_full_scale_is_clipped_rather_than_wrapped() -> None:
    square = np.where(np.arange(8_000) // 20 % 2, 32_767, -32_768).astype("<i2")
    output = converted(square, 8_000, 16_000)
    plateaus = output.reshape(-1, 40)[:, 10:30]
    assert np.all(plateaus[1::2] > 25_000) and np.all(plateaus[::2] < -25_000)


def test_equal_rates_pass_audio_as_it_is() -> None:
    resampler = StreamResampler(16_000, 16_000)
    assert resampler.resample(b"\x01\x02") == b"\x01\x02"
    assert resampler.flush() == b""


@pytest.mark.parametrize(("from_hz", "to_hz"), [(0, 16_000), (-8_000, 16_000), (16_000, 3_999), (192_001, 16_000)])
def test_a_rate_that_is_none_is_refused(from_hz: int, to_hz: int) -> None:
    with pytest.raises(ValueError, match="is not within 4000 to 192000 Hz"):
        StreamResampler(from_hz, to_hz)


def test_half_a_sample_is_refused_and_changes_nothing() -> None:
    resampler = StreamResampler(8_000, 16_000)
    with pytest.raises(ValueError, match="3 bytes is not whole 16-bit samples"):
        resampler.resample(b"\0\0\0")
    assert len(resampler.resample(bytes(320)) + resampler.flush()) == 640


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are listed by Linux")
def test_a_stream_starts_no_threads() -> None:
    before = len(list(TASKS.iterdir()))
    streams = [StreamResampler(8_000, 16_000) for _ in range(10)]
    for stream in streams:
        stream.resample(bytes(320))
    assert len(list(TASKS.iterdir())) == before


def test_an_hour_lacks_no_more_than_a_second_does() -> None:
    resampler, second = StreamResampler(44_100, 16_000), bytes(2 * 44_100)
    lacking = {second_s * 16_000 - len_ for second_s, len_ in _lengths(resampler, second, 3_600)}
    assert max(lacking) <= 17 and min(lacking) >= 0


def _lengths(resampler: StreamResampler, second: bytes, count: int) -> list[tuple[int, int]]:
    given, lengths = 0, []
    for second_s in range(1, count + 1):
        given += len(resampler.resample(second)) // 2
        lengths.append((second_s, given))
    return lengths
