"""Streamed sound against the same codes decoded at once: how much error, and whether the borders are heard.

`python -m antiphon_tts.backends.magpie.quality model.nemo` prints it of a checkpoint's codec as JSON.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from .loading import load_magpie
from .request import Samples
from .settings import MagpieSettings
from .vocoder import Vocoder, Window, measure

FRAMES = 128
SLOTS = 4


@dataclass(frozen=True, slots=True)
class Quality:
    """Of the streamed sound. `jump` is how much more neighbouring samples differ at a border between windows than they
    do there in the whole, and `steps` how much they differ anywhere in the whole; full scale is 1."""

    codec: str
    back: int
    ahead: int
    snr_db: float
    largest_error: float
    jump: float
    steps: float


def hybrid_edges(frames: int) -> list[int]:
    """Windows of 2, 2, 4, 8, 16, 16 … frames, as a listener's buffer lets them grow."""
    edges, size = [0, 2], 2
    while edges[-1] < frames:
        edges.append(min(frames, edges[-1] + size))
        size = min(16, size * 2)
    return edges


def compared(streamed: Samples, whole: Samples, borders: Sequence[int]) -> tuple[float, float, float, float]:
    """The ratio of sound to error in dB (infinite without an error), the largest error, the jump and the steps."""
    error = streamed - whole
    power = float((error.astype(np.float64) ** 2).mean())
    ratio = 10 * math.log10(float((whole.astype(np.float64) ** 2).mean()) / power) if power else math.inf
    ours, theirs = np.diff(streamed), np.diff(whole)
    places = np.array(borders) - 1
    jump = float(np.abs(ours[places] - theirs[places]).max()) if borders else 0.0
    return ratio, float(np.abs(error).max()), jump, float(np.abs(theirs).max())


def measured(checkpoint: Path) -> Quality:
    """The codec of a checkpoint on random codes, in hybrid windows."""
    own = MagpieSettings(model=str(checkpoint))
    magpie = load_magpie(own, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    size = (SLOTS, magpie.num_audio_codebooks, FRAMES)
    history = torch.randint(0, magpie.codebook_size, size, generator=generator).to(torch.int16)
    field = measure(magpie, magpie.device, look_ahead_db=own.look_ahead_db)
    vocoder = Vocoder(magpie, history, field)
    streams, wholes, borders = [], [], []
    for slot in range(SLOTS):
        borders += [slot * FRAMES * vocoder.samples + edge for edge in _borders(vocoder)]
        streams += list(_windows(vocoder, slot))
        wholes.append(_decoded(vocoder, slot, 0, FRAMES, 0))
    figures = compared(np.concatenate(streams), np.concatenate(wholes), borders)
    return Quality(type(magpie._codec_model.audio_decoder).__name__, field.back, field.ahead, *figures)


def _borders(vocoder: Vocoder) -> list[int]:
    return [edge * vocoder.samples for edge in hybrid_edges(FRAMES)[1:-1]]


def _windows(vocoder: Vocoder, slot: int) -> Iterator[Samples]:
    for start, stop in pairwise(hybrid_edges(FRAMES)):
        yield _decoded(vocoder, slot, start, stop, min(vocoder.field.ahead, FRAMES - stop))


def _decoded(vocoder: Vocoder, slot: int, start: int, stop: int, ahead: int) -> Samples:
    return vocoder.run([Window(slot, start, stop, ahead)])[0]


if __name__ == "__main__":
    print(json.dumps(asdict(measured(Path(sys.argv[1])))))
