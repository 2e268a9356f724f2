from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench import questions
from antiphon_bench.errors import AudioTooLong, NoSamples, NotWav
from antiphon_bench.wav import load_call_audio


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_any_wav_becomes_16_bit_mono_at_16_khz(tmp_path: Path, rate_hz: int, subtype: str) -> None:
    path = tmp_path / "tone.wav"
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz)
    sf.write(path, sine, rate_hz, subtype=subtype)
    pcm = load_call_audio(path)
    assert pcm.dtype == np.int16
    assert len(pcm) == pytest.approx(16_000, abs=1)
    spectrum = np.abs(np.fft.rfft(pcm.astype(float)))
    assert int(spectrum.argmax()) == pytest.approx(1000, abs=1)
    assert np.sqrt(np.mean(pcm.astype(float) ** 2)) == pytest.approx(0.5 * 32768 / np.sqrt(2), rel=0.02)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    sf.write(path, np.stack([np.full(1600, 0.5), np.full(1600, 0.1)], axis=1), 16_000, subtype="FLOAT")
    assert load_call_audio(path) == pytest.approx(np.full(1600, 0.3 * 32768), abs=1)


def test_what_is_beyond_full_scale_or_no_number_is_clipped(tmp_path: Path) -> None:
    path = tmp_path / "hot.wav"
    sf.write(path, np.array([2.0, -2.0, np.nan, 0.25], np.float32), 16_000, subtype="FLOAT")
    assert load_call_audio(path).tolist() == [32767, -32768, 0, 8192]


def test_ten_minutes_is_the_most(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    sf.write(path, np.zeros(601 * 8_000, np.int16), 8_000)
    with pytest.raises(AudioTooLong, match="601 s"):
        load_call_audio(path)


def test_a_wav_cut_off_in_its_header_is_not_audio(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    sf.write(path, np.zeros(1600, np.int16), 16_000)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises((NotWav, NoSamples)):
        load_call_audio(path)


def test_the_questions_that_come_with_the_package_are_spoken_text() -> None:
    paths = questions()
    assert [path.name for path in paths] == ["1.wav", "2.wav", "3.wav"]
    assert sum(path.stat().st_size for path in paths) < 300_000
    for path in paths:
        info = sf.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert np.abs(load_call_audio(path)).max() == pytest.approx(32768 * 10 ** (-6 / 20), rel=0.01)
        assert path.with_suffix(".txt").read_text().strip().endswith("?")
