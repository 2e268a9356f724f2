"""Separation of a recording into the caller's speech and the agent's, for every recording layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .echo import Echo, explained, without_echo
from .errors import NotStereo
from .speech import MERGE_S, Segment, Speech, find_speech
from .wav import Audio, Samples, read_wav, resampled

LONGEST_RECORDING_S = 4 * 3600.0
# In a mix, the one may answer this soon after the other: a shorter silence is inside a word.
WORD_GAP_S = 0.080

# From when to when, in seconds.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides' speech at one rate. `samples` is the recording's length; `waves` are the channels, one of a mix.

    `echo` is the agent's in the caller's channel; the caller's speech is what remains without it.
    """

    rate_hz: int
    samples: int
    caller: Speech
    agent: Speech
    waves: tuple[Samples, ...]
    echo: Echo | None = None


def read_sides(path: Path, agent: Path | None = None, caller_speaks: Sequence[Span] = ()) -> Sides:
    """See `recording.measure`. Raises AudioError."""
    audio = read_wav(path, longest_s=LONGEST_RECORDING_S)
    channels = audio.samples.shape[1]
    if agent is not None:
        other = read_wav(agent, longest_s=LONGEST_RECORDING_S)
        for one, file in ((audio, path), (other, agent)):
            if one.samples.shape[1] != 1:
                raise NotStereo(file, f"{one.samples.shape[1]} channels: of two files each must be mono")
        return sides_of(_together(audio, other))
    if caller_speaks and channels == 1:
        return _of_a_mix(audio, caller_speaks)
    if channels != 2:
        kind = "mono" if channels == 1 else f"{channels} channels"
        raise NotStereo(
            path,
            f"{kind}, but a recording needs two channels: the caller left, the agent right. Or give two mono files, or "
            "say when the caller speaks in a mono one",
        )
    return sides_of(audio)


def sides_of(audio: Audio) -> Sides:
    """Find both sides in stereo audio: the caller left, the agent right."""
    rate, waves = audio.rate_hz, (audio.samples[:, 0], audio.samples[:, 1])
    agent = find_speech(waves[1], rate)
    cleaned = without_echo(*waves, rate) if agent.segments else None
    if cleaned is None:
        return Sides(rate, len(audio.samples), find_speech(waves[0], rate), agent, waves)
    found = find_speech(cleaned.caller, rate)
    # Cancellation leaves a residue of a room's echo, which is not the caller's speech.
    own = tuple(one for one in found.segments if not explained(waves[0], cleaned.caller, one.start, one.end))
    return Sides(rate, len(audio.samples), Speech(own, found.threshold), agent, waves, cleaned.echo)


def _together(caller: Audio, agent: Audio) -> Audio:
    """Two mono recordings as one stereo one, at the higher rate, the shorter followed by silence."""
    rate = max(caller.rate_hz, agent.rate_hz)
    waves = [resampled(one.samples[:, 0], one.rate_hz, rate) for one in (caller, agent)]
    length = max(map(len, waves))
    return Audio(np.stack([np.pad(wave, (0, length - len(wave))) for wave in waves], axis=1), rate)


def _of_a_mix(audio: Audio, caller_speaks: Sequence[Span]) -> Sides:
    """Each stretch is his whose it mostly is by the hints; where both speak at once, only one is heard."""
    rate, wave = audio.rate_hz, audio.samples[:, 0]
    found = find_speech(wave, rate, WORD_GAP_S)
    hints = [(start * rate, end * rate) for start, end in caller_speaks]

    def callers(segment: Segment) -> bool:
        hinted = sum(max(0.0, min(segment.end, end) - max(segment.start, start)) for start, end in hints)
        return hinted >= 0.5 * (segment.end - segment.start)

    sides = [[one for one in found.segments if callers(one) == side] for side in (True, False)]
    merged = (_merged(side, round(MERGE_S * rate)) for side in sides)
    caller, agent = (Speech(segments, found.threshold) for segments in merged)
    return Sides(rate, len(wave), caller, agent, (wave,))


def _merged(segments: Sequence[Segment], gap: int) -> tuple[Segment, ...]:
    merged: list[Segment] = []
    for segment in segments:
        if merged and segment.start - merged[-1].end < gap:
            merged[-1] = Segment(merged[-1].start, segment.end)
        else:
            merged.append(segment)
    return tuple(merged)
