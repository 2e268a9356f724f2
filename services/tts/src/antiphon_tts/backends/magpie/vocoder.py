"""From codes to sound in windows that fit without a seam: how far the codec looks is measured, not assumed.

A causal codec given the frames that it looks back to makes the very samples it would make of everything. One that looks
ahead is held back by so many frames that what it does not see yet stays below a stated error. Nothing is cross-faded:
that error is no smoother across a border than elsewhere, so a fade would not make it smaller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# The probe: so many random frames, of which the middle one is changed, for so many draws.
PROBE_FRAMES, PROBES = 96, 3
# Samples of float32 are no better than this, which is also below the rounding of 16 bits.
EXACT_DB = 120.0


@dataclass(frozen=True, slots=True)
class Field:
    """How many frames before and after its own a frame's samples depend on, and how far below the sound is what the
    chosen `ahead` leaves out, in dB; infinite where nothing is."""

    back: int
    ahead: int
    error_db: float


@dataclass(frozen=True, slots=True)
class Window:
    """Frames to be heard of a slot, from `start` to `stop`, and how many after them are known and may be looked at."""

    slot: int
    start: int
    stop: int
    ahead: int


def influence(magpie: Any, device: torch.device) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """How much a change of one frame changes the samples of those n frames after it, and n before, n from 0.

    Root mean square relative to that of all samples. Measured by perturbation, on random codes.
    """
    generator = torch.Generator().manual_seed(0)
    middle, size = PROBE_FRAMES // 2, magpie.codebook_size
    after, before = np.zeros(PROBE_FRAMES - middle), np.zeros(middle + 1)
    for _ in range(PROBES):
        codes = torch.randint(0, size, (1, magpie.num_audio_codebooks, PROBE_FRAMES), generator=generator)
        changed = codes.clone()
        changed[:, :, middle] = (changed[:, :, middle] + size // 2) % size
        one, other = (decode(magpie, each.to(device)) for each in (codes, changed))
        by_frame = ((one - other).view(PROBE_FRAMES, -1) ** 2).mean(1).sqrt() / one.square().mean().sqrt()
        after = np.maximum(after, by_frame[middle:].cpu().numpy())
        before = np.maximum(before, by_frame[: middle + 1].flip(0).cpu().numpy())
    return after, before


def measure(magpie: Any, device: torch.device, *, look_ahead_db: float) -> Field:
    """The field of the model's codec: back to where nothing is left to hear, ahead until `look_ahead_db` is met."""
    after, before = influence(magpie, device)
    back = next(frames for frames in range(len(after)) if _below(after, frames) >= EXACT_DB)
    if _below(before, 0) >= EXACT_DB:
        return Field(back, 0, math.inf)
    ahead = next(frames for frames in range(len(before)) if _below(before, frames) >= look_ahead_db)
    return Field(back, ahead, _below(before, ahead))


def _below(influences: np.ndarray[Any, Any], frames: int) -> float:
    """How far below the sound is what comes from more than `frames` away, in dB."""
    power = float((influences[frames + 1 :] ** 2).sum())
    return -10 * math.log10(power) if power > 0 else math.inf


def decode(magpie: Any, codes: torch.Tensor) -> torch.Tensor:
    """Samples of the codes (windows, codebooks, frames), all of the same length: (windows, samples)."""
    lengths = torch.full((codes.shape[0],), codes.shape[2], device=codes.device)
    audio: torch.Tensor = magpie._codec_helper.codes_to_audio(codes.long(), lengths)[0]
    return audio


class Vocoder:
    """Decodes windows, those of one shape together. Used by the engine's thread."""

    def __init__(self, magpie: Any, history: torch.Tensor, field: Field) -> None:
        self._magpie = magpie
        self._history = history
        self.field = field
        self.samples: int = magpie.codec_model_samples_per_frame
        self.rate_hz = int(magpie.output_sample_rate)

    @torch.inference_mode()
    def run(self, windows: Sequence[Window]) -> list[np.ndarray[Any, Any]]:
        """The samples of each window, float32 from -1 to 1; a slot's windows must come in order."""
        found: list[np.ndarray[Any, Any]] = [np.zeros(0, np.float32)] * len(windows)
        shapes: dict[tuple[int, int], list[int]] = {}
        for index, window in enumerate(windows):
            if window.start == window.stop:
                continue
            first = max(0, window.start - self.field.back)
            shapes.setdefault((window.start - first, window.stop + window.ahead - first), []).append(index)
        for (before, frames), indices in shapes.items():
            for index, audio in zip(indices, self._decode([windows[i] for i in indices], before, frames), strict=True):
                found[index] = self._cut(windows[index], before, audio)
        return found

    def _decode(self, windows: Sequence[Window], before: int, frames: int) -> np.ndarray[Any, Any]:
        codes = [self._history[w.slot, :, w.start - before : w.start - before + frames] for w in windows]
        audio: np.ndarray[Any, Any] = decode(self._magpie, torch.stack(codes)).float().cpu().numpy()
        return audio

    def _cut(self, window: Window, before: int, audio: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return audio[before * self.samples : (before + window.stop - window.start) * self.samples]
