"""Steps of the tiny model without an engine."""

from typing import Any

import numpy as np
import torch

from antiphon_asr.backends.nemo.context import Context
from antiphon_asr.backends.nemo.pool import Pool
from antiphon_asr.backends.nemo.row import Row

# Frames that a slot of the tests' pools goes back.
REWIND = 40


def context_of(model: Any, ms: int) -> Context:
    return next(context for context in model.contexts if context.ms == ms)


def row(context: Context, slot: int, audio: np.ndarray, step: int) -> Row:
    start, stop = context.window(step)
    window = np.zeros(stop - start, np.int16)
    first, last = max(0, start), min(stop, len(audio))
    if first < last:
        window[first - start : last - start] = audio[first:last]
    frame = context.frames_after(step)
    return Row(slot, slot, frame, step, frame, step, window)


def streamed(model: Any, pool: Pool, context: Context, audio: np.ndarray, steps: int, slot: int = 0) -> Any:
    frames, tokens = [], []
    for step in range(steps):
        rows = [row(context, slot, audio, step)]
        with torch.inference_mode():
            frames.append(model._encode(pool, context, rows)[0][0])
        tokens += model.step(pool, context, rows)[0]
    return torch.cat(frames, 1), [(token.id, token.frame) for token in tokens]
