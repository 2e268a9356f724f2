"""A high-pass filter that moves no edge: what lies below voices is taken out of a channel."""

import numpy as np
from numpy.typing import NDArray

Mono = NDArray[np.float32]

CUT_OFF_HZ = 150.0
# A Butterworth's fall, 24 dB an octave, without its phase.
ORDER = 4
HALF_S = 0.025
BLOCK = 1 << 16


def without_rumble(samples: Mono, rate_hz: int) -> Mono:
    """The samples without what lies below 150 Hz, in their places."""
    kernel = _kernel(rate_hz)
    half = len(kernel) // 2
    out = np.zeros(len(samples) + 2 * half + BLOCK, np.float32)
    padded = 1 << (BLOCK + len(kernel)).bit_length()
    spectrum = np.fft.rfft(kernel, padded)
    for at in range(0, len(samples), BLOCK):
        piece = samples[at : at + BLOCK]
        filtered = np.fft.irfft(np.fft.rfft(piece, padded) * spectrum, padded)[: len(piece) + 2 * half]
        out[at : at + len(filtered)] += filtered.astype(np.float32)
    return out[half : half + len(samples)]


def _kernel(rate_hz: int) -> NDArray[np.float64]:
    half = round(HALF_S * rate_hz)
    length = 1 << (8 * half).bit_length()
    hz = np.fft.rfftfreq(length, 1 / rate_hz)
    gain = 1.0 / (1.0 + (CUT_OFF_HZ / np.maximum(hz, 1e-3)) ** ORDER)
    response = np.fft.irfft(gain, length)
    return np.concatenate([response[-half:], response[: half + 1]]) * np.hanning(2 * half + 3)[1:-1]
