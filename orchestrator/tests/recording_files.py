"""Recordings for tests: sound to write, and the length of what was written."""

from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from antiphon_orchestrator.records.tracks import RATE_HZ

FORMATS: tuple[Literal["wav", "flac", "opus"], ...] = ("wav", "flac", "opus")


def stereo(seconds: float) -> NDArray[np.int16]:
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sides = [5000 * np.sin(2 * np.pi * pitch * at) for pitch in (400, 700)]
    return np.stack(sides, axis=1).astype(np.int16)


def decoded_s(path: Path) -> float:
    """The length that FFmpeg and libsndfile find, reading to the end; they must agree."""
    samples, rate_hz = sf.read(path, dtype="int16")
    assert rate_hz == RATE_HZ and samples.shape[1] == 2
    with av.open(str(path)) as container:
        found_s = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert found_s == pytest.approx(len(samples) / RATE_HZ, abs=0.1)
    return len(samples) / RATE_HZ


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
