"""Speech detection in one channel, with edges exact to the sample.

Levels are RMS over 10 ms every 5 ms. A stretch between digital silence has its own threshold: 10 dB over its steady
noise, without the rumble that may hide it, and no more than 40 dB under the channel's loudest speech. Edges are then
moved to the first and last sample that reaches it. Where the noise is less than 30 dB under the speech, the bands
decide in which speech stands out (`noisy`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noisy import find_in_noise
from .rumble import without_rumble

HOP_S = 0.005
WINDOW_S = 0.010
MERGE_S = 0.300
SHORTEST_S = 0.030
CLICK_S = 0.005

_SILENT_DBFS = -90.0  # below the rounding noise of 16-bit audio over a window
AUDIBLE_DBFS = -50.0  # nobody speaks more quietly into a microphone that is of any use
_LOWEST_THRESHOLD_DBFS = -70.0
_OVER_NOISE_DB = 10.0
_UNDER_SPEECH_DB = 40.0
_ONSET_DB = 6.0  # a segment must rise this far over the threshold somewhere, or it is a rustle
_NEVER_SILENT = 0.95
_QUIETEST_PERCENT = 5
_NOISE_PEAK_DB = 4.0  # how far from the quietest windows the peak may be
_NOISE_SHARE = 0.08  # of the windows, within 3 dB: less is no peak
_STEADY_WINDOWS = 20
_ISLAND_GAP_S = 0.5
_QUIET_PERCENT = 10
_RUMBLE_DB = 6.0
_NOISE_UNDER_SPEECH_DB = 15.0
_NOISY_DB = 30.0
_LOUD_S = 0.100  # the loudest level is one reached for this long in all, so a click does not set it

Mono = NDArray[np.float32]
Levels = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The levels a channel was judged by, in dBFS (RMS over 10 ms)."""

    noise_floor_dbfs: float
    speech_dbfs: float
    threshold_dbfs: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: its first sample, and the one after its last."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech of one channel: segments in order, with pauses shorter than 300 ms inside them."""

    segments: tuple[Segment, ...]
    threshold: Threshold


def find_speech(samples: Mono, rate_hz: int, merge_s: float = MERGE_S) -> Speech:
    """The speech in one channel of full scale 1. `merge_s` is the longest pause that stays inside a segment.

    Stretches between digital silence are judged one by one: files that are played into a call bring their own noise.
    """
    centred = samples - np.float32(np.median(samples)) if len(samples) else samples
    hop = max(1, round(HOP_S * rate_hz))
    levels = _levels(centred, hop, round(WINDOW_S * rate_hz))
    speech_dbfs = _loudest(levels)
    never_silent = bool(np.count_nonzero(levels > _SILENT_DBFS) > _NEVER_SILENT * len(levels))
    found: list[Segment] = []
    thresholds: list[tuple[int, Threshold]] = []
    for first, last in _islands(levels):
        start, end = first * hop, min(len(centred), (last + 1) * hop + round(WINDOW_S * rate_hz))
        inside = _in_island(centred[start:end], rate_hz, merge_s, speech_dbfs, never_silent)
        found += [Segment(start + one.start, start + one.end) for one in inside.segments]
        thresholds.append((sum(one.end - one.start for one in inside.segments), inside.threshold))
    segments = tuple(_merged(found, round(merge_s * rate_hz)))
    # The channel's is that of the stretch with the most speech.
    told = (
        max(thresholds, key=lambda one: one[0])[1] if thresholds else _threshold(levels, speech_dbfs, never_silent=True)
    )
    return Speech(segments, told)


def _in_island(samples: Mono, rate_hz: int, merge_s: float, speech_dbfs: float, never_silent: bool) -> Speech:
    """The speech in a stretch without long digital silence, in a channel whose speech is this loud."""
    hop, window = max(1, round(HOP_S * rate_hz)), round(WINDOW_S * rate_hz)
    levels = _levels(samples, hop, window)
    threshold = _threshold(levels, speech_dbfs, never_silent)
    if threshold.noise_floor_dbfs <= _SILENT_DBFS:
        # Rumble and hum lie below voices, and have no steady level. What is left without them may have one.
        filtered = without_rumble(samples, rate_hz)
        filtered_levels = _levels(filtered, hop, window)
        without = _threshold(filtered_levels, speech_dbfs, never_silent)
        quiet, quiet_without = (np.percentile(each, _QUIET_PERCENT) for each in (levels, filtered_levels))
        if without.noise_floor_dbfs > _SILENT_DBFS and quiet_without < quiet - _RUMBLE_DB:
            samples, levels, threshold = filtered, filtered_levels, without
    if _is_noisy(levels, threshold):
        stretches = [Segment(one.start, one.end) for one in find_in_noise(samples, rate_hz)]
        found = _merged(stretches, round(merge_s * rate_hz))
        return Speech(tuple(one for one in found if one.end - one.start >= SHORTEST_S * rate_hz), threshold)
    # The peak of a sine whose RMS is the threshold.
    amplitude = np.float32(np.sqrt(2.0) * 10.0 ** (threshold.threshold_dbfs / 20.0))
    sounds = [
        sound
        for first, last in _runs(levels >= threshold.threshold_dbfs)
        if (sound := _refined(samples, first * hop, last * hop + window, amplitude)) is not None
        and sound.end - sound.start >= CLICK_S * rate_hz
    ]
    onset_dbfs = max(threshold.threshold_dbfs + _ONSET_DB, AUDIBLE_DBFS)
    segments = tuple(
        segment
        for segment in _merged(sounds, round(merge_s * rate_hz))
        if segment.end - segment.start >= SHORTEST_S * rate_hz
        and levels[segment.start // hop : segment.end // hop + 1].max() >= onset_dbfs
    )
    return Speech(segments, threshold)


def _islands(levels: Levels) -> list[tuple[int, int]]:
    """First and last window of each stretch that holds no digital silence of half a second."""
    joined: list[tuple[int, int]] = []
    for first, last in _runs(levels > _SILENT_DBFS):
        if joined and first - joined[-1][1] - 1 < _ISLAND_GAP_S / HOP_S:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def _is_noisy(levels: Levels, threshold: Threshold) -> bool:
    """Return True if steady noise is present throughout, at a level not far below the speech."""
    never_silent = np.count_nonzero(levels > _SILENT_DBFS) > _NEVER_SILENT * len(levels)
    close = threshold.speech_dbfs - threshold.noise_floor_dbfs < _NOISY_DB
    return bool(never_silent and close and threshold.noise_floor_dbfs > _SILENT_DBFS)


def _levels(samples: Mono, hop: int, window: int) -> Levels:
    """dBFS of the window that starts at each hop."""
    count = max(0, (len(samples) - 1) // hop + 1)
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    starts = np.arange(count) * hop
    ends = np.minimum(starts + window, len(samples))
    power = (energy[ends] - energy[starts]) / np.maximum(ends - starts, 1)
    result: Levels = 10.0 * np.log10(np.maximum(power, 1e-12))
    return result


def _loudest(levels: Levels) -> float:
    """The level of speech: one that is reached for 100 ms in all."""
    if not len(levels):
        return _SILENT_DBFS
    loud_windows = min(len(levels), round(_LOUD_S / HOP_S))
    return float(np.partition(levels, -loud_windows)[-loud_windows])


def _threshold(levels: Levels, channel_dbfs: float, never_silent: bool) -> Threshold:
    """Compute the threshold of a stretch in a channel whose speech level is `channel_dbfs`."""
    if len(levels) == 0:
        return Threshold(_SILENT_DBFS, _SILENT_DBFS, AUDIBLE_DBFS)
    speech = _loudest(levels)
    noise = _noise_floor(levels, channel_dbfs, never_silent)
    threshold = max(noise + _OVER_NOISE_DB, channel_dbfs - _UNDER_SPEECH_DB, _LOWEST_THRESHOLD_DBFS)
    return Threshold(round(noise, 1), round(speech, 1), round(threshold, 1))


def _noise_floor(levels: Levels, channel_dbfs: float, never_silent: bool) -> float:
    """The level of steady noise, or -90 where there is none: a clean stretch.

    A stretch that is never quite silent dwells at its noise: a narrow peak at the bottom of the levels' distribution.
    """
    sounding = levels[levels > _SILENT_DBFS]
    if len(sounding) < _STEADY_WINDOWS:
        return _SILENT_DBFS
    return _lowest_peak(sounding, channel_dbfs, never_silent)


def _lowest_peak(levels: Levels, speech_dbfs: float, never_silent: bool) -> float:
    quietest = float(np.percentile(levels, _QUIETEST_PERCENT))
    if quietest > speech_dbfs - _NOISE_UNDER_SPEECH_DB:
        # The level hardly varies: all noise or, next to digital silence, a tone.
        return quietest if never_silent else _SILENT_DBFS
    # Speech without a pause has a quiet end too, but a ragged one.
    near = levels[(levels > quietest - _NOISE_PEAK_DB) & (levels < quietest + _NOISE_PEAK_DB)]
    counts, edges = np.histogram(near, bins=np.arange(quietest - _NOISE_PEAK_DB, quietest + _NOISE_PEAK_DB + 1.0, 1.0))
    around = np.convolve(counts, np.ones(3), mode="same") / len(levels)
    peak = int(around.argmax())
    dwells = around[peak] >= max(_NOISE_SHARE, _STEADY_WINDOWS / len(levels))
    return float(edges[peak] + 0.5) if dwells else _SILENT_DBFS


def _runs(active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate(([0], active.astype(np.int8), [0]))))
    return [(int(first), int(after) - 1) for first, after in changes.reshape(-1, 2)]


def _refined(samples: Mono, start: int, end: int, amplitude: np.float32) -> Segment | None:
    over = np.flatnonzero(np.abs(samples[start:end]) >= amplitude)
    return Segment(start + int(over[0]), start + int(over[-1]) + 1) if len(over) else None


def _merged(segments: list[Segment], gap: int) -> list[Segment]:
    merged: list[Segment] = []
    for segment in segments:
        if merged and segment.start - merged[-1].end < gap:
            merged[-1] = Segment(merged[-1].start, max(segment.end, merged[-1].end))
        else:
            merged.append(segment)
    return merged
