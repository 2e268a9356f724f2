"""Where somebody speaks in a channel so noisy that levels do not tell: by the bands in which speech stands out.

White noise is spread over all bands, and a voice at any moment is in a few of them: there it is heard 10 dB and more
under the noise's own level. Each band's noise is what it has in its quietest fifth of the time.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Mono = NDArray[np.float32]
Levels = NDArray[np.float64]

WINDOW_S = 0.020
HOP_S = 0.0025
# Of speech, its hissing sounds included.
LOWEST_HZ, HIGHEST_HZ = 200.0, 8000.0
BAND_HZ = 150.0
# So many bands tell.
TELLING = 3
# Over the noise, in dB: what is speech, and what a stretch must reach somewhere to be one.
OVER_DB, PEAK_DB = 6.5, 8.5
SMOOTH_HOPS = 5
# A window that has only begun to hold speech stands out already: by so much an edge is further in than its middle.
EDGE_S = 0.005
QUIET_SHARE, QUIET_Z = 0.2, -0.8416
# A window's Hann taper leaves each bin about so many degrees of freedom.
FREEDOM_PER_BIN = 1.3


@dataclass(frozen=True, slots=True)
class Stretch:
    """Of samples: the first, and the one after the last; `peak_db` is how far it stands out."""

    start: int
    end: int
    peak_db: float


def find_in_noise(samples: Mono, rate_hz: int) -> list[Stretch]:
    """Stretches that stand out of the channel's noise."""
    window, hop = round(WINDOW_S * rate_hz), max(1, round(HOP_S * rate_hz))
    if len(samples) < 2 * window:
        return []
    excess = _excess_db(samples, rate_hz, window, hop)
    over = np.flatnonzero(np.diff(np.concatenate(([0], (excess >= OVER_DB).astype(np.int8), [0]))))
    stretches = []
    for first, after in over.reshape(-1, 2):
        peak = float(excess[first:after].max())
        if peak >= PEAK_DB:
            inside = window // 2 + round(EDGE_S * rate_hz)
            start, end = first * hop + inside, after * hop + window - inside
            stretches.append(Stretch(int(start), int(max(start + 1, end)), peak))
    return stretches


def _excess_db(samples: Mono, rate_hz: int, window: int, hop: int) -> Levels:
    """By how much the telling bands exceed their noise, window by window."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), window)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)))
    hz = np.fft.rfftfreq(window, 1 / rate_hz)
    edges = np.arange(LOWEST_HZ, min(HIGHEST_HZ, rate_hz / 2) + 1.0, BAND_HZ)
    bands = [power[:, (hz >= low) & (hz < high)] for low, high in pairwise(edges)]
    ratios = np.stack([_over_noise(band.sum(axis=1), band.shape[1]) for band in bands if band.shape[1]], axis=1)
    kernel = np.ones(SMOOTH_HOPS) / SMOOTH_HOPS
    smooth = np.apply_along_axis(lambda one: np.convolve(one, kernel, mode="same"), 0, ratios)
    telling = np.sort(smooth, axis=1)[:, -TELLING:].mean(axis=1)
    result: Levels = 10 * np.log10(np.maximum(telling, 1e-6))
    return result


def _over_noise(energy: Levels, bins: int) -> Levels:
    """A band's energy as a multiple of its noise, which is known from a low percentile (Wilson and Hilferty, 1931)."""
    freedom = 2 * bins / FREEDOM_PER_BIN
    ratio = (1 - 2 / (9 * freedom) + QUIET_Z * math.sqrt(2 / (9 * freedom))) ** 3
    noise = float(np.quantile(energy, QUIET_SHARE)) / ratio
    result: Levels = energy / max(noise, 1e-12)
    return result
