"""Recognizes audio that is not the 16-bit little-endian PCM that it is sent as, where that is certain.

Floats show by their exponents: of each pair of 16-bit words the second keeps to a small range, and the first does not.
Encodings of a byte show because PCM that is loud has low bytes like noise: where neighbouring bytes follow each other
as samples do, they are samples. One such frame proves nothing, several do.
"""

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]

CONTAINERS = (b"OggS\0", b"fLaC\0", b"ID3\2", b"ID3\3", b"ID3\4", b"\x1aE\xdf\xa3", b"caff\0\1")
# Floats that are judged, other than zero, and the upper word of those from 2**-64 to 2, without the sign.
LEAST_FLOATS = 64
FLOAT_WORDS = range(0x1F80, 0x4000)
# A frame that says something about its encoding has so many bytes and different words, and is as loud as this as PCM.
LEAST_BYTES = 128
LEAST_DISTINCT = 32
LOUD = 2000.0
# Neighbours agree so much in a frame of another encoding. Of 13,000 loud frames of PCM, none came above 0.4.
SMOOTH = 0.8
# In a frame of PCM they agree no more than this as anything else; in one that is big-endian, as PCM.
ROUGH = 0.5
# Frames that look like one encoding, less those that look like PCM, before the caller's audio is taken for it.
SURE_FRAMES = 10
# After so many frames of PCM, one in so many is looked at.
SETTLED_FRAMES = 100
SETTLED_LOOKS = 10


def _mu_law() -> Wave:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa * 2 + 33) << exponent) - 33
    return np.where(code & 128, -magnitude, magnitude).astype(np.float32)


def _a_law() -> Wave:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(exponent, (mantissa * 2 + 33) << np.maximum(exponent - 1, 0), mantissa * 2 + 1)
    return np.where(code & 128, magnitude, -magnitude).astype(np.float32)


_BYTES: dict[str, Wave] = {
    "audio_mu_law": _mu_law(),
    "audio_a_law": _a_law(),
    "audio_8_bit": np.arange(256, dtype=np.float32) - 128,
}


def is_container(audio: bytes) -> bool:
    """True if the bytes are the beginning of an audio file or of a compressed stream."""
    return audio.startswith(CONTAINERS) or (audio[:4] == b"RIFF" and audio[8:12] == b"WAVE") or audio[4:8] == b"ftyp"


def is_float32(audio: bytes, least: int = LEAST_FLOATS) -> bool:
    """True if the bytes are floats within ±2, `least` of which are not 0.

    As PCM their upper words are 8,064 to 16,383 or -24,704 to -16,385: no sound that swings to both sides keeps to that
    in every second sample, and hardly ever in those between.
    """
    words = np.frombuffer(audio, "<u2", len(audio) // 4 * 2).reshape(-1, 2)
    within = (words[:, 1] & 0x7FFF) - np.uint16(FLOAT_WORDS.start) < len(FLOAT_WORDS)
    if np.count_nonzero(within) < least:  # as in nearly all PCM
        return False
    words = words[words.any(axis=1)]
    if len(words) < least:
        return False
    lower, upper = words[:, 0] & 0x7FFF, words[:, 1] & 0x7FFF
    if not bool(((upper >= FLOAT_WORDS.start) & (upper < FLOAT_WORDS.stop)).all()):
        return False
    negative = float(np.mean(words[:, 1] >> 15))
    alike = float(np.mean((lower >= FLOAT_WORDS.start) & (lower < FLOAT_WORDS.stop)))
    return 0.02 < negative < 0.98 and alike < 0.6 and len(np.unique(upper >> 7)) >= 3


def looks_like(audio: bytes) -> str | None:
    """The encoding that the frame looks like, "" for PCM, None when it says nothing."""
    if len(audio) < LEAST_BYTES:
        return None
    pcm = np.frombuffer(audio, "<i2").astype(np.float32)
    if len(np.unique(pcm)) < LEAST_DISTINCT:
        return None
    if float(np.dot(pcm, pcm)) < LOUD**2 * len(pcm):
        return ""
    codes = np.frombuffer(audio, np.uint8)
    apart = codes[::2] - codes[1::2] + np.uint8(1)
    if float(np.mean(apart <= 2)) > 0.9:  # it may be PCM that was made of 8 bits
        return None
    smooth = {name: smoothness(table[codes]) for name, table in _BYTES.items()}
    best = max(smooth, key=lambda name: smooth[name])
    if smooth[best] >= SMOOTH:
        return best
    as_pcm = smoothness(pcm)
    if as_pcm < ROUGH and smoothness(np.frombuffer(audio, ">i2").astype(np.float32)) >= SMOOTH:
        return "audio_big_endian"
    return "" if as_pcm >= SMOOTH and smooth[best] < ROUGH else None


def smoothness(wave: Wave) -> float:
    """The correlation of neighbouring samples: near 1 for a wave, near 0 for noise."""
    wave = wave - wave.mean()
    power = float(np.dot(wave, wave))
    return float(np.dot(wave[:-1], wave[1:])) / power if power > 0 else 0.0


class EncodingWatch:
    """Watches one caller's audio, frame by frame."""

    def __init__(self) -> None:
        self._floats = False
        self._suspected = ""
        self._recognized = ""
        self._score = 0
        # Frames of PCM in a row, and frames in all.
        self._pcm = 0
        self._count = 0

    def refusal(self, audio: bytes, channels: int = 1) -> str:
        """The reason for which this frame is refused, "" when it is taken for PCM."""
        if is_container(audio):
            return "audio_container"
        self._floats = is_float32(audio, LEAST_FLOATS // 8 if self._floats else LEAST_FLOATS)
        if self._floats:
            return "audio_float32"
        self._count += 1
        if channels != 1 or (self._pcm >= SETTLED_FRAMES and self._count % SETTLED_LOOKS):
            return self._recognized
        seems = looks_like(audio)
        self._pcm = 0 if seems else self._pcm + (seems is not None)
        if seems and not self._score:
            self._suspected = seems
        if seems is not None:
            step = 1 if seems and seems == self._suspected else -1
            self._score = min(SURE_FRAMES, max(0, self._score + step))
        if self._score in (0, SURE_FRAMES):
            self._recognized = self._suspected if self._score else ""
        return self._recognized
