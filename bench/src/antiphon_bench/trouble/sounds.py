"""Sounds of a caller that are no clear speech, and the noises behind one. Mono, 16 kHz, full scale 1."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..testing.synth import tone
from ..wav import CALL_RATE_HZ, Samples, load_call_audio

_FOLDER = Path(str(files("antiphon_bench")))
TELEVISION = ("appointment", "birthday", "doctor", "lights", "money", "train", "return", "thanks")
_ORDER = 20
# Widens the formants, as breath does; without it a recognizer takes them for a voice.
_WIDENING = 0.95

Curve = np.ndarray[tuple[int], np.dtype[np.float64]]


@lru_cache
def utterance(name: str) -> Samples:
    """One of the bundled utterances."""
    return load_call_audio(_FOLDER / "utterances" / f"{name}.wav").astype(np.float32) / np.float32(32768)


@lru_cache
def question(number: int) -> Samples:
    """One of the bundled questions, from 1."""
    return load_call_audio(_FOLDER / "questions" / f"{number}.wav").astype(np.float32) / np.float32(32768)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * CALL_RATE_HZ), np.float32)


def beep(seconds: float = 0.8, hz: float = 300.0) -> Samples:
    """A tone that the stubs take for an utterance."""
    return tone(seconds, CALL_RATE_HZ, hz)


def joined(*sounds: Samples) -> Samples:
    return np.concatenate(sounds)


def louder(sound: Samples, db: float) -> Samples:
    return (sound * np.float32(10 ** (db / 20))).astype(np.float32)


def television(db: float = 0.0) -> Samples:
    """People who speak on without a pause."""
    margin = CALL_RATE_HZ // 10
    return louder(np.concatenate([utterance(name)[margin:-margin] for name in TELEVISION]), db)


def stationary(dbfs: float, seconds: float = 5.0, seed: int = 1) -> Samples:
    """White noise of a level."""
    noise = np.random.default_rng(seed).normal(0.0, 10 ** (dbfs / 20), round(seconds * CALL_RATE_HZ))
    return np.asarray(noise, np.float32)


def cough(seed: int = 1) -> Samples:
    """Two bursts of noise of a throat's bandwidth."""
    burst = _band(np.random.default_rng(seed).standard_normal(CALL_RATE_HZ // 4), 300.0, 3000.0)
    shape = np.minimum(1.0, np.arange(len(burst)) / 80) * np.exp(-np.arange(len(burst)) / (0.09 * CALL_RATE_HZ))
    one = (0.4 * burst * shape / np.abs(burst).max()).astype(np.float32)
    return np.concatenate([one, silence(0.12), louder(one, -3.0)])


def whisper(speech: Samples, seed: int = 1) -> Samples:
    """The speech whispered: its formants, excited by noise instead of a voice (linear prediction, frames of 25 ms)."""
    window, hop = round(0.025 * CALL_RATE_HZ), round(0.010 * CALL_RATE_HZ)
    noise = np.random.default_rng(seed).standard_normal(len(speech) + window)
    shape = np.hanning(window)
    out = np.zeros(len(speech) + window)
    emphasised = np.append(speech[:1], speech[1:] - 0.95 * speech[:-1])
    for at in range(0, len(speech) - window, hop):
        frame = emphasised[at : at + window] * shape
        spectrum = np.fft.rfft(noise[at : at + window] * shape, 2 * window)
        voiced = np.fft.irfft(spectrum * _envelope(frame, window + 1), 2 * window)[:window]
        out[at : at + window] += voiced * shape
    quiet = out[: len(speech)]
    level = np.sqrt(np.mean(np.square(speech))) / max(1e-9, np.sqrt(np.mean(np.square(quiet))))
    return np.asarray(np.clip(quiet * level, -1.0, 1.0), np.float32)


def _envelope(frame: Curve, bins: int) -> Curve:
    """The gain of the all-pole filter that fits the frame (Levinson-Durbin), at `bins` frequencies from 0."""
    correlation = np.correlate(frame, frame, "full")[len(frame) - 1 : len(frame) + _ORDER]
    correlation[0] = correlation[0] * 1.001 + 1e-9
    filter_, error = np.array([1.0]), float(correlation[0])
    for order in range(1, _ORDER + 1):
        reflection = -float(np.dot(filter_, correlation[order:0:-1])) / error
        extended = np.append(filter_, 0.0)
        filter_ = extended + reflection * extended[::-1]
        error *= 1.0 - reflection**2
    gain: Curve = np.sqrt(max(error, 1e-12)) / np.maximum(
        np.abs(np.fft.rfft(filter_ * _WIDENING ** np.arange(len(filter_)), 2 * (bins - 1))), 1e-6
    )
    return gain


@lru_cache
def whispered(name: str) -> Samples:
    """A bundled utterance, whispered."""
    return whisper(utterance(name))


def ring_back(seconds: float = 3.0) -> Samples:
    """The sound of a telephone that rings elsewhere: 440 and 480 Hz, a second on and a second off."""
    at = np.arange(round(seconds * CALL_RATE_HZ)) / CALL_RATE_HZ
    on = (at % 2.0) < 1.0
    tones = np.sin(2 * np.pi * 440 * at) + np.sin(2 * np.pi * 480 * at)
    return np.asarray(0.1 * on * tones, np.float32)


def music(seconds: float = 3.0) -> Samples:
    """Chords, two a second."""
    at = np.arange(round(seconds * CALL_RATE_HZ)) / CALL_RATE_HZ
    steps = np.array([1.0, 1.125, 1.335, 1.0])[(at * 2).astype(int) % 4]
    phase = 2 * np.pi * np.cumsum(steps) / CALL_RATE_HZ
    chord = sum(np.sin(phase * hz) / (1 + number) for number, hz in enumerate((220.0, 277.2, 329.6, 440.0)))
    return (0.12 * np.asarray(chord) * (0.6 + 0.4 * np.cos(4 * np.pi * at))).astype(np.float32)


def hum(seconds: float = 2.0, hz: float = 130.0) -> Samples:
    """Somebody hums: harmonics with vibrato."""
    at = np.arange(round(seconds * CALL_RATE_HZ)) / CALL_RATE_HZ
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.03 * np.sin(2 * np.pi * 4 * at))) / CALL_RATE_HZ
    voice = sum(np.sin(number * phase) / number**1.5 for number in range(1, 20))
    edge = np.minimum(1.0, np.minimum(at, at[::-1]) / 0.05)
    return (0.15 * np.asarray(voice) * edge * (1 + 0.3 * np.sin(2 * np.pi * 2.5 * at))).astype(np.float32)


def _band(sound: Curve, low_hz: float, high_hz: float) -> Curve:
    spectrum, hz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / CALL_RATE_HZ)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    kept: Curve = np.fft.irfft(spectrum, len(sound))
    return kept
