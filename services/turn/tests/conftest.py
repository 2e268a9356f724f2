"""Every installed backend, and a voice."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import pytest

from antiphon_turn.testing import RATE

BACKENDS = [
    "stub",
    pytest.param(
        "smart-turn",
        marks=[
            pytest.mark.real,
            pytest.mark.skipif(not (find_spec("onnxruntime") and find_spec("pipecat")), reason="extra cpu is missing"),
        ],
    ),
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True)
class Spoken:
    """16 kHz speech: audible (beyond ±500) from sample `first` up to `last`, dying away around that."""

    pcm: bytes
    first: int
    last: int

    def cut(self, share: float) -> bytes:
        """What is said, broken off after `share` of it."""
        return self.pcm[: 2 * (self.first + int((self.last - self.first) * share))]


@pytest.fixture(scope="session")
def say() -> Callable[[str], Spoken]:
    """Speaks English."""
    hibari, np, soxr = pytest.importorskip("hibari"), pytest.importorskip("numpy"), pytest.importorskip("soxr")
    voice = hibari.Hibari()

    def spoken(text: str) -> Spoken:
        audio = soxr.resample(np.asarray(voice(text, seed=0), np.float32).ravel(), hibari.SAMPLE_RATE, RATE)
        samples = (audio * (26_000 / np.abs(audio).max())).astype("<i2")
        loud = np.flatnonzero(np.abs(samples.astype(int)) > 500)
        return Spoken(samples.tobytes(), int(loud[0]), int(loud[-1]) + 1)

    return spoken
