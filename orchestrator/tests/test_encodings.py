"""Audio that is not PCM is recognized; PCM never is taken for anything else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr
from numpy.typing import NDArray

from antiphon_orchestrator.encodings import _BYTES, EncodingWatch, is_float32

Samples = NDArray[np.float64]
BENCH = Path(__file__).parents[2] / "bench" / "src" / "antiphon_bench"
RECORDINGS = sorted([*BENCH.glob("questions/*.wav"), *BENCH.glob("utterances/*.wav")])
RATES = (8_000, 16_000, 48_000)


def spoken(path: Path, rate: int) -> Samples:
    samples, own = sf.read(path, dtype="float64", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), own, rate))


def pcm(samples: Samples) -> bytes:
    return np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2").tobytes()


def companded(samples: Samples, name: str) -> bytes:
    """The samples in the encoding of bytes whose table is given: the nearest code of each."""
    table = _BYTES[name]
    order = np.argsort(table, kind="stable")
    scaled = samples * float(np.abs(table).max())
    return order[np.clip(np.searchsorted(table[order], scaled), 0, 255)].astype(np.uint8).tobytes()


ENCODED: dict[str, Callable[[Samples], bytes]] = {
    "audio_float32": lambda samples: samples.astype("<f4").tobytes(),
    "audio_mu_law": lambda samples: companded(samples, "audio_mu_law"),
    "audio_a_law": lambda samples: companded(samples, "audio_a_law"),
    "audio_8_bit": lambda samples: companded(samples, "audio_8_bit"),
    "audio_big_endian": lambda samples: np.frombuffer(pcm(samples), "<i2").astype(">i2").tobytes(),
}
WIDTHS = {"audio_float32": 4, "audio_big_endian": 2}


def judged(audio: bytes, size: int, channels: int = 1) -> list[str]:
    watch = EncodingWatch()
    return [watch.refusal(audio[at : at + size], channels) for at in range(0, len(audio) - size + 1, size)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ENCODED)
def test_speech_in_another_encoding_is_recognized_by_its_name_soon(name: str, rate: int) -> None:
    firsts = []
    for path in RECORDINGS:
        reasons = judged(ENCODED[name](spoken(path, rate)), rate // 50 * WIDTHS.get(name, 1))
        assert set(reasons) == {"", name} or set(reasons) == {name}, path.name
        firsts.append(reasons.index(name) * 0.02)
        assert np.mean([reason == name for reason in reasons[reasons.index(name) :]]) > 0.9, path.name
    assert np.median(firsts) < 1.0  # of which there is silence up to 0.15 s, and in one up to a second


def sounds(rate: int) -> Iterator[tuple[str, Samples]]:
    """Whatever a line can carry, for long enough."""
    random, n = np.random.default_rng(5), np.arange(rate // 4)
    for level in (1e-4, 0.01, 0.1, 0.5, 1.0, 4.0):
        yield f"noise {level}", random.normal(0, level, len(n))
        yield f"rumble {level}", np.cumsum(random.normal(0, level, len(n))) / 30
        yield f"chord {level}", level * sum(np.sin(2 * np.pi * f * n / rate) for f in (220, 277.2, 329.6)) / 3
        yield f"clicks {level}", np.where(random.random(len(n)) < 0.01, level, 0.0)
    for step in (*range(1, 64, 5), 2, 4, 8, 32):  # tones of every pitch, those that divide the rate among them
        wave = np.sin(2 * np.pi * n * step / 128)
        for level in (0.3, 0.46, 0.56, 1.0):
            yield f"tone {step}/128 at {level}", level * wave
            yield f"square {step}/128 at {level}", level * np.sign(wave)
    for level in (-0.56, -0.25, 0.0, 0.4283, 0.46, 0.999):
        yield f"offset {level}", np.full(len(n), level)
        yield f"offset {level} with noise", level + random.normal(0, 0.002, len(n))
        yield f"sawtooth of {level}", (n * level / 50) % 1.0 - 0.5
    yield "made of 8 bits", np.round(np.sin(2 * np.pi * 300 * n / rate) * 100) * 257 / 32767


@pytest.mark.parametrize("rate", RATES)
def test_no_sound_as_pcm_is_taken_for_another_encoding(rate: int) -> None:
    for name, samples in sounds(rate):
        assert set(judged(pcm(samples), rate // 50 * 2)) == {""}, name


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gain", [0.01, 1.0, 20.0])
def test_no_speech_as_pcm_is_taken_for_another_encoding(rate: int, gain: float) -> None:
    for path in RECORDINGS:
        samples = spoken(path, rate) * gain
        assert set(judged(pcm(samples), rate // 50 * 2)) == {""}, path.name
        stereo = np.stack([samples, np.full(len(samples), 0.46)], axis=1)  # one channel stuck
        assert set(judged(pcm(stereo.ravel()), rate // 50 * 4, channels=2)) == {""}, path.name


def test_random_bytes_are_no_encoding() -> None:
    random = np.random.default_rng(3)
    assert set(judged(random.bytes(640 * 1000), 640)) == {""}


def test_silence_is_no_encoding() -> None:
    for byte in (0x00, 0xFF, 0x7F, 0x80, 0xD5, 0x55):
        assert set(judged(bytes([byte]) * 64_000, 640)) == {""}


@pytest.mark.parametrize(
    "beginning",
    [
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"OggS\0\2",
        b"fLaC\0\0",
        b"ID3\4\0",
        b"\x1aE\xdf\xa3\x9f",
        b"\0\0\0 ftypM4A ",
    ],
)
def test_an_audio_file_is_refused_where_it_begins(beginning: bytes) -> None:
    assert EncodingWatch().refusal(beginning + bytes(640)) == "audio_container"


def test_few_floats_or_words_that_could_be_pcm_are_not_certain() -> None:
    few: Any = np.sin(np.arange(63)).astype("<f4")
    assert not is_float32(few.tobytes())
    assert is_float32(np.sin(np.arange(1, 81)).astype("<f4").tobytes())


def test_another_encoding_after_minutes_of_pcm_is_recognized_all_the_same() -> None:
    watch, spoken_pcm = EncodingWatch(), [pcm(spoken(path, 16_000)) for path in RECORDINGS]
    for audio in spoken_pcm:
        assert {watch.refusal(audio[at : at + 640]) for at in range(0, len(audio) - 639, 640)} == {""}
    later = b"".join(companded(spoken(path, 16_000), "audio_mu_law") for path in RECORDINGS)
    reasons = [watch.refusal(later[at : at + 320]) for at in range(0, len(later) - 319, 320)]
    assert reasons.index("audio_mu_law") * 0.02 < 3.0


def test_pcm_after_floats_is_taken_again() -> None:
    watch, wave = EncodingWatch(), np.sin(np.arange(320) / 5)
    assert watch.refusal(wave.astype("<f4").tobytes()) == "audio_float32"
    assert watch.refusal(pcm(wave)) == ""
