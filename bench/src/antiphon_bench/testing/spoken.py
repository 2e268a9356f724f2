"""Calls between bundled voices whose troubles are known: who speaks when, what is cut off, what echoes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..speech import find_speech
from ..wav import CALL_RATE_HZ, Audio, Samples, load_call_audio, resampled

FOLDERS = [Path(__file__).parent.parent / name for name in ("questions", "utterances")]


def voice(name: str, rate_hz: int) -> Samples:
    """A bundled utterance from its first to its last sound, decay included."""
    path = next(folder / f"{name}.wav" for folder in FOLDERS if (folder / f"{name}.wav").is_file())
    samples = load_call_audio(path).astype(np.float32) / 32768.0
    segments = find_speech(samples, CALL_RATE_HZ).segments
    margin = CALL_RATE_HZ // 50
    return resampled(samples[segments[0].start : segments[-1].end + margin], CALL_RATE_HZ, rate_hz)


def whispered(samples: Samples, seed: int = 0) -> Samples:
    """The same without a voice: noise in its envelope, 12 dB down."""
    noise = np.random.default_rng(seed).normal(0.0, 1.0, len(samples))
    envelope = np.convolve(np.abs(samples), np.ones(400) / 400, mode="same")
    result: Samples = (0.25 * envelope * noise).astype(np.float32)
    return result


@dataclass
class SpokenCall:
    """Both sides of a call as it is put together; give it the parts in any order, then ask for `audio`."""

    rate_hz: int
    seconds: float
    agent_gain: float = 0.5
    _sides: list[Samples] = field(init=False)

    def __post_init__(self) -> None:
        self._sides = [np.zeros(round(self.seconds * self.rate_hz), np.float32) for _ in range(2)]

    def caller(self, at_s: float, samples: Samples | str) -> float:
        """The caller speaks. Returns until when."""
        return self._put(0, at_s, samples, 1.0, None)

    def agent(self, at_s: float, samples: Samples | str, cut_s: float | None = None) -> float:
        """The agent speaks, for `cut_s` or to its end. Returns until when."""
        return self._put(1, at_s, samples, self.agent_gain, cut_s)

    def audio(
        self, *, echo_db: float | None = None, delay_s: float = 0.0, noise_dbfs: float | None = None, seed: int = 0
    ) -> Audio:
        """The stereo recording, with the agent's echo in the caller's channel and noise in both."""
        caller, agent = (side.copy() for side in self._sides)
        if echo_db is not None:
            delay = round(delay_s * self.rate_hz)
            caller[delay:] += self._sides[1][: len(caller) - delay] * np.float32(10 ** (echo_db / 20))
        stereo = np.stack([caller, agent], axis=1)
        if noise_dbfs is not None:
            noise = np.random.default_rng(seed).normal(0.0, 10 ** (noise_dbfs / 20), stereo.shape)
            stereo += noise.astype(np.float32)
        return Audio(stereo, self.rate_hz)

    def _put(self, side: int, at_s: float, samples: Samples | str, gain: float, cut_s: float | None) -> float:
        wave = voice(samples, self.rate_hz) if isinstance(samples, str) else samples
        if cut_s is not None:
            wave = wave[: round(cut_s * self.rate_hz)]
        start = round(at_s * self.rate_hz)
        self._sides[side][start : start + len(wave)] += wave * np.float32(gain)
        return at_s + len(wave) / self.rate_hz
