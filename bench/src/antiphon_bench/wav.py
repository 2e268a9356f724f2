"""Any WAV a person may have at hand, as the audio that a caller sends."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from .errors import AudioTooLong, EmptyAudio, NoSamples, NotWav, UnreadableAudio

CALL_RATE_HZ = 16_000
LONGEST_S = 600.0

Pcm = NDArray[np.int16]
Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded audio: `samples` is frames x channels, full scale is 1."""

    samples: Samples
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz


def load_call_audio(path: Path) -> Pcm:
    """The file as mono 16-bit audio at 16 kHz; several channels are averaged. Raises AudioError."""
    audio = read_wav(path, longest_s=LONGEST_S)
    mono = audio.samples.mean(axis=1, dtype=np.float32)
    return to_pcm(resampled(mono, audio.rate_hz, CALL_RATE_HZ))


def read_wav(path: Path, longest_s: float) -> Audio:
    """The whole file at its own rate. Raises AudioError when it is not a WAV of at most `longest_s` seconds."""
    try:
        if path.is_dir():
            raise UnreadableAudio(path, "a folder, not a file")
        if path.stat().st_size == 0:
            raise EmptyAudio(path, "the file is empty")
        with sf.SoundFile(path) as file:
            if file.format not in ("WAV", "WAVEX", "RF64"):
                raise NotWav(path, f"not a WAV file but {file.format}; convert it first")
            if file.frames == 0:
                raise NoSamples(path, "a WAV file without a single sample")
            if file.frames > longest_s * file.samplerate:
                seconds = file.frames / file.samplerate
                raise AudioTooLong(path, f"{seconds:.0f} s of audio; at most {longest_s:.0f} s is taken")
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) == 0:
                raise NoSamples(path, "the WAV file is cut off after its header")
            return Audio(samples, file.samplerate)
    except OSError as error:
        raise UnreadableAudio(path, error.strerror or str(error)) from error
    except sf.LibsndfileError as error:
        raise NotWav(path, f"not a WAV file ({error.error_string})") from error


def resampled(mono: Samples, rate_hz: int, to_hz: int) -> Samples:
    """`mono` at another rate, aligned to the sample."""
    if rate_hz == to_hz:
        return mono
    result: Samples = soxr.resample(mono, rate_hz, to_hz).astype(np.float32)
    return result


def to_pcm(samples: Samples) -> Pcm:
    """16-bit audio; what is beyond full scale, or not a number, is clipped."""
    finite = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    pcm: Pcm = np.clip(np.rint(finite * 32768.0), -32768, 32767).astype(np.int16)
    return pcm
