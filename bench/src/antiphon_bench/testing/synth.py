"""Recordings whose edges are known to the sample."""

from dataclasses import dataclass

import numpy as np

from ..wav import Audio, Samples


def tone(seconds: float, rate_hz: int, hz: float = 300.0) -> Samples:
    """Speech-like: syllables four times a second, 10 ms of attack and decay, 12 dB under full scale."""
    count = round(seconds * rate_hz)
    at = np.arange(count) / rate_hz
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)
    to_edge = np.minimum(np.arange(count), np.arange(count)[::-1])
    envelope = np.minimum(1.0, to_edge / (0.010 * rate_hz) + 0.02)
    return (0.25 * np.sin(2 * np.pi * hz * at) * syllables * envelope).astype(np.float32)


@dataclass(frozen=True)
class Part:
    """Somebody speaks: `channel` 0 is the caller, 1 the agent."""

    channel: int
    start_s: float
    samples: Samples


def recording(parts: list[Part], rate_hz: int, noise_dbfs: float | None = None, tail_s: float = 1.0) -> Audio:
    ends = [round(part.start_s * rate_hz) + len(part.samples) for part in parts]
    length = max(ends, default=0) + round(tail_s * rate_hz)
    stereo = np.zeros((length, 2), np.float32)
    for part in parts:
        start = round(part.start_s * rate_hz)
        stereo[start : start + len(part.samples), part.channel] += part.samples
    if noise_dbfs is not None:
        noise = np.random.default_rng(7).normal(0.0, 10 ** (noise_dbfs / 20), stereo.shape)
        stereo += noise.astype(np.float32)
    return Audio(stereo, rate_hz)
