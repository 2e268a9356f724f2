"""The agent's voice in the caller's channel: found by correlation of the two channels, and taken out.

A loudspeaker beside the microphone, or a line that couples, gives the caller's channel a delayed and attenuated copy of
what the agent says. The path is estimated as the ratio of the cross-spectrum to the agent's spectrum, averaged over
blocks in which the agent speaks. An echo cannot come before its sound, so negative delays show what chance gives.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .wav import resampled

Mono = NDArray[np.float32]
Path = NDArray[np.float64]

BLOCK_S = 2.0
# Blocks that are looked at, evenly over the recording: a minute of speech settles the path.
MOST_BLOCKS = 200
LONGEST_DELAY_S = 0.600
# The path's beginning before its peak, and the room's reflections after it.
BEFORE_S, AFTER_S = 0.002, 0.060
# How far the peak stands above the largest of the impossible delays.
CERTAIN = 3.0
# Of the agent's level in a block, in dBFS: below, nobody speaks.
AGENT_SPEAKS_DBFS = -50.0
# A stretch of the caller's channel is echo when so much of its energy is explained.
EXPLAINED = 0.75
LEAST_POWER = 1e-6
# Where speech has its energy: above, a band without any would only add noise.
FIND_RATE_HZ = 8_000
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Echo:
    """`gain_db` is the echo's level under the agent's; `delay_ms` is how much later it comes."""

    delay_ms: float
    gain_db: float


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The caller's channel without the echo."""

    caller: Mono
    echo: Echo


def without_echo(caller: Mono, agent: Mono, rate_hz: int) -> Cleaned | None:
    """Takes the agent's echo out of the caller's channel. None when there is none."""
    delay_s = _delay_s(*(resampled(wave, rate_hz, FIND_RATE_HZ) for wave in (caller, agent)))
    if delay_s is None:
        return None
    first = round(max(0.0, delay_s - BEFORE_S) * rate_hz)
    taps = round((BEFORE_S + AFTER_S) * rate_hz)
    # Once more with both channels aligned, so that the blocks hold the same speech.
    size = round(BLOCK_S * rate_hz)
    spectra = _spectra(caller, agent, _blocks(agent, rate_hz), size, first)
    # Bands in which the agent has next to nothing would only add noise.
    reliable = spectra.agent + LEAST_POWER * float(spectra.agent.max()) + _TINY
    response: Path = np.fft.irfft(spectra.cross / reliable, 2 * size)[:taps]
    predicted = _convolved(agent, response, first, len(caller))
    gain_db = 10 * np.log10((_energy(predicted) + _TINY) / (_energy(agent) + _TINY))
    return Cleaned((caller - predicted).astype(np.float32), Echo(round(delay_s * 1000, 1), round(float(gain_db), 1)))


def explained(caller: Mono, cleaned: Mono, start: int, end: int) -> bool:
    """True when most of what sounds between two samples is echo."""
    return _energy(cleaned[start:end]) <= (1 - EXPLAINED) * _energy(caller[start:end])


def _delay_s(caller: Mono, agent: Mono) -> float | None:
    """The echo's delay, from both channels at FIND_RATE_HZ. None when no delay stands out of the impossible ones."""
    starts = _blocks(agent, FIND_RATE_HZ)
    if not starts:
        return None
    size = round(BLOCK_S * FIND_RATE_HZ)
    spectra = _spectra(caller, agent, starts, size, 0)
    # Smoothed coherence transform: bands in which only one side sounds do not count.
    likeness = np.fft.irfft(spectra.cross / np.sqrt(spectra.agent * spectra.caller + _TINY), 2 * size)
    longest = round(LONGEST_DELAY_S * FIND_RATE_HZ)
    possible, impossible = np.abs(likeness[:longest]), np.abs(likeness[-longest:-1])
    delay = int(possible.argmax())
    return delay / FIND_RATE_HZ if possible[delay] >= CERTAIN * float(impossible.max()) + _TINY else None


def _energy(wave: Mono) -> float:
    return float(np.sum(np.square(wave, dtype=np.float64)))


def _blocks(agent: Mono, rate_hz: int) -> list[int]:
    """The first samples of blocks in which the agent speaks."""
    size = round(BLOCK_S * rate_hz)
    starts = range(0, max(1, len(agent) - size // 2), size // 2)
    least = 10 ** (AGENT_SPEAKS_DBFS / 10)
    speaking = [at for at in starts if float(np.mean(np.square(agent[at : at + size], dtype=np.float64))) > least]
    step = -(-len(speaking) // MOST_BLOCKS) or 1
    return speaking[::step]


@dataclass(frozen=True, slots=True)
class _Spectra:
    """Sums over blocks: the cross-spectrum, and the power of each side."""

    cross: NDArray[np.complex128]
    agent: Path
    caller: Path


def _spectra(caller: Mono, agent: Mono, starts: list[int], size: int, shift: int) -> _Spectra:
    """The caller's channel is taken `shift` samples later than the agent's."""
    window = np.hanning(size)
    length = 2 * size
    cross = np.zeros(length // 2 + 1, np.complex128)
    power, heard_power = np.zeros(length // 2 + 1), np.zeros(length // 2 + 1)
    for at in starts:
        said = np.fft.rfft(_piece(agent, at, size) * window, length)
        piece = _piece(caller, at + shift, size) * window
        heard = np.fft.rfft(piece, length)
        # A block in which the caller speaks says little about the path.
        weight = 1.0 / (float(np.mean(np.square(piece))) + 1e-8)
        cross += weight * heard * said.conj()
        power += weight * np.square(np.abs(said))
        heard_power += weight * np.square(np.abs(heard))
    return _Spectra(cross, power, heard_power)


def _piece(wave: Mono, start: int, size: int) -> Path:
    piece = wave[start : start + size].astype(np.float64)
    return np.pad(piece, (0, size - len(piece)))


def _convolved(wave: Mono, response: Path, delay: int, length: int) -> Mono:
    """`wave` through the path, by overlap and add."""
    size = max(4 * len(response), 1 << 15)
    padded = 1 << (size + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(response, padded)
    out = np.zeros(max(length, len(wave) + delay) + padded, np.float32)
    for at in range(0, len(wave), size):
        piece = np.fft.irfft(np.fft.rfft(wave[at : at + size], padded) * spectrum, padded)
        out[at + delay : at + delay + padded] += piece.astype(np.float32)
    return out[:length]
