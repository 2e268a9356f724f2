"""Silence around a segment's sound: models pad it, and padding at the start of a reply is heard as latency."""

from dataclasses import dataclass

import numpy as np

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]

# Quieter than this (root mean square of 5 ms, full scale being 1) is silence: -50 dBFS lies between the noise that
# hibari's pads have and the onset of its fricatives.
SILENCE_RMS = 0.003
WINDOW_MS = 5


@dataclass(frozen=True, slots=True)
class Pauses:
    """Silence wanted before and after the sound, in milliseconds."""

    lead_ms: int
    tail_ms: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """`samples` begin at sample `start` of what was trimmed; their sound is from `voice_start` to `voice_end`."""

    samples: Samples
    start: int
    voice_start: int
    voice_end: int


def sound(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """Where the sound begins and ends, in samples; (0, 0) when there is none."""
    window = rate_hz * WINDOW_MS // 1000
    frames = samples[: len(samples) // window * window].reshape(-1, window)
    loud = np.flatnonzero(np.sqrt(np.mean(frames**2, axis=1)) > SILENCE_RMS)
    return (int(loud[0]) * window, (int(loud[-1]) + 1) * window) if len(loud) else (0, 0)


def trim(samples: Samples, pauses: Pauses, rate_hz: int) -> Trimmed:
    """The sound with exactly the pauses asked for around it, cut or filled, faded over a window at both cuts."""
    begin, end = sound(samples, rate_hz)
    if begin == end:
        return Trimmed(samples[:0], 0, 0, 0)
    lead, tail, fade = (rate_hz * ms // 1000 for ms in (pauses.lead_ms, pauses.tail_ms, WINDOW_MS))
    first, last = max(0, begin - lead), min(len(samples), end + tail)
    kept = samples[first:last].copy()
    ramp = np.linspace(0.0, 1.0, min(fade, len(kept)), dtype=np.float32)
    kept[: len(ramp)] *= ramp
    kept[len(kept) - len(ramp) :] *= ramp[::-1]
    missing = lead - (begin - first), tail - (last - end)
    padded = np.concatenate((np.zeros(missing[0], np.float32), kept, np.zeros(missing[1], np.float32)))
    return Trimmed(padded, first - missing[0], lead, lead + end - begin)
