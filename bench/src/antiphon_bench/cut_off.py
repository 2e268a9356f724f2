"""Speech that stops in mid-flow, told by its last milliseconds.

A voice that ends falls by 20 dB and more before its last 10 ms; one that is cut off is as loud as before until silence.
"""

import numpy as np
from numpy.typing import NDArray

from .speech import AUDIBLE_DBFS, Segment

Mono = NDArray[np.float32]

WINDOW_S = 0.005
LAST_WINDOWS = 2
# The end of a segment that is compared with its last milliseconds.
BODY_S = 1.0
# The last windows' loudest against the body's median, and the silence after them against the loudest.
LOUD_DB, FALL_DB = -12.0, -20.0
# What follows is this near the body: noise, in which a decay is lost.
HIDDEN_DB = -20.0
# A test tone, such as the stub voice's, may end anywhere: it is one when so much of its energy is in one line.
TONE_S, TONE_BINS, TONE_SHARE = 0.100, 2, 0.95


def is_cut_off(wave: Mono, rate_hz: int, segment: Segment) -> bool | None:
    """True when the speech that ends with `segment` is cut off.

    None where that cannot be told: for pure tones, which end without a decay, and where noise hides the decay.
    """
    window = max(1, round(WINDOW_S * rate_hz))
    end = segment.end
    after = wave[end : end + 2 * window]
    body = wave[max(segment.start, end - round(BODY_S * rate_hz)) : end]
    count = len(body) // window
    if count <= LAST_WINDOWS or len(after) < 2 * window:
        return False
    levels = _db(np.mean(np.square(body[-count * window :].reshape(count, window), dtype=np.float64), axis=1))
    audible = levels[levels > AUDIBLE_DBFS]
    if not len(audible):
        return False
    last = float(levels[-LAST_WINDOWS:].max())
    silence = float(_db(np.mean(np.square(after, dtype=np.float64), keepdims=True))[0])
    usual = float(np.median(audible))
    if silence > usual + HIDDEN_DB:
        return None
    if last < usual + LOUD_DB or silence - last > FALL_DB:
        return False
    return None if _is_tone(body[-round(TONE_S * rate_hz) :]) else True


def _is_tone(wave: Mono) -> bool:
    power = np.square(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))))
    peak = int(power.argmax())
    line = power[max(0, peak - TONE_BINS) : peak + TONE_BINS + 1].sum()
    return bool(line >= TONE_SHARE * power.sum())


def _db(power: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 1e-12))
    return result
