"""Where a stream has speech, by level and periodicity. Nothing here looks ahead, so later audio changes no answer.

The model makes words out of silence and noise ("You"), so a clip is only decoded when this finds a voice in it.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
FRAME = RATE_HZ * 20 // 1000
# 32 ms hold two periods of a deep voice. Only the last 20 ms are the frame's own.
WINDOW = RATE_HZ * 32 // 1000
BAND_HZ = (150, 4000)
# Below the quietest speech that telephone codecs keep.
QUIETEST_DB = -65.0
SILENT_DB = -90.0
SILENT_PEAK = 16
# Minimum statistics (Martin 2001): speech has a gap every few seconds, so the least level is the noise's.
FLOOR_FRAMES = 150
FIRST_FLOOR_DB = -50.0
ABOVE_FLOOR_DB = 6.0
# The pitch of voices, and how periodic they are: white noise reaches 0.42, pink noise 0.65, voices stay near 0.95.
PITCH_HZ = (80, 400)
VOICED = 0.75
LEAST_VOICED_FRAMES = 4
# A hum is periodic too, but its level stays; across its frames lie 2.9 dB at most, across a short word 4.1 and more.
LEAST_SPREAD_DB = 3.5


@dataclass(frozen=True, slots=True)
class Frame:
    """20 ms of a stream: its level in dBFS, whether it stands out of the noise, and whether it has a pitch."""

    level_db: float
    active: bool
    voiced: bool


SILENT = Frame(SILENT_DB, active=False, voiced=False)


class Listener:
    """The frames of a stream's last `keep` samples, aligned to its first sample."""

    def __init__(self, keep: int) -> None:
        self._frames: deque[Frame] = deque(maxlen=keep // FRAME)
        self._count = 0
        self._rest = np.zeros(0, np.int16)
        self._before = np.zeros(WINDOW - FRAME, np.int16)
        self._floor = deque([FIRST_FLOOR_DB] * FLOOR_FRAMES, maxlen=FLOOR_FRAMES)

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, samples: NDArray[np.int16]) -> list[Frame]:
        """Takes the stream's next samples, gives the frames that they complete."""
        pending = np.concatenate([self._rest, samples])
        count = len(pending) // FRAME
        if not count:
            self._rest = pending
            return []
        whole, self._rest = pending[: count * FRAME], pending[count * FRAME :]
        frames = self._frames_of(np.concatenate([self._before, whole]), count)
        self._before = whole[-(WINDOW - FRAME) :]
        self._frames.extend(frames)
        self._count += count
        return frames

    def between(self, start: int, end: int) -> tuple[int, list[Frame]]:
        """The frames that lie wholly between two samples, and the first one's first sample."""
        oldest = self._count - len(self._frames)
        first = max(-(-start // FRAME), oldest)
        last = min(end // FRAME, self._count)
        return first * FRAME, list(islice(self._frames, first - oldest, max(first, last) - oldest))

    def _frames_of(self, samples: NDArray[np.int16], count: int) -> list[Frame]:
        if np.abs(samples.astype(np.int32)).max() < SILENT_PEAK:
            self._floor.extend([SILENT_DB] * min(count, FLOOR_FRAMES))
            return [SILENT] * count
        windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::FRAME][:count]
        levels, pitches = _measured(windows)
        frames = []
        for level, pitch in zip(levels.tolist(), pitches.tolist(), strict=True):
            self._floor.append(level)
            active = level > max(QUIETEST_DB, min(self._floor) + ABOVE_FLOOR_DB)
            frames.append(Frame(level, active, active and pitch > VOICED))
        return frames


def has_speech(frames: list[Frame]) -> bool:
    """Whether somebody speaks in these frames."""
    levels = [frame.level_db for frame in frames if frame.voiced]
    if len(levels) < LEAST_VOICED_FRAMES:
        return False
    soft, loud = np.percentile(levels, [10, 90])
    return bool(loud - soft >= LEAST_SPREAD_DB)


def quietest(frames: list[Frame]) -> int:
    """Which of the frames is in the middle of the quietest tenth of a second."""
    levels = np.array([frame.level_db for frame in frames])
    return int(np.convolve(levels, np.ones(5) / 5, "valid").argmin()) + 2


_HANN = np.hanning(WINDOW).astype(np.float32)
_FFT = 2 * WINDOW
_BAND = slice(BAND_HZ[0] * _FFT // RATE_HZ, BAND_HZ[1] * _FFT // RATE_HZ)
_LAGS = slice(RATE_HZ // PITCH_HZ[1], RATE_HZ // PITCH_HZ[0])
_WINDOW_LAGS = np.correlate(_HANN, _HANN, "full")[WINDOW - 1 :] / np.sum(_HANN**2)


def _measured(windows: NDArray[np.int16]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each window's level in the speech band, and its periodicity: Boersma (1993), the autocorrelation's peak."""
    spectrum = np.fft.rfft(windows * (_HANN / 32768), _FFT)
    power = np.zeros(spectrum.shape)
    power[:, _BAND] = np.abs(spectrum[:, _BAND]) ** 2
    energy = np.maximum(power.sum(axis=1), 1e-12)
    levels = 10 * np.log10(energy * 2 / (_FFT * np.sum(_HANN**2)))
    correlation = np.fft.irfft(power)[:, _LAGS] / _WINDOW_LAGS[_LAGS]
    whole = 2 * energy / _FFT
    return levels, correlation.max(axis=1) / whole
