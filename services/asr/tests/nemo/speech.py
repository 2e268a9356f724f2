"""Audio for a model of random weights, and what that model hears in it when it gets it whole."""

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon_asr.backends.nemo.context import HOP, Context
from antiphon_asr.backends.nemo.random_checkpoint import sounds

Pcm = NDArray[np.int16]


def pcm(seconds: float, seed: int) -> Pcm:
    """Sounds that differ by their seed, as 16-bit samples."""
    return (sounds(seconds, seed).numpy() * 32767).astype(np.int16)


def packets(audio: Pcm, seed: int, longest: int = 4000) -> list[bytes]:
    """The audio in packets of random sizes."""
    rng, cuts = np.random.default_rng(seed), [0]
    while cuts[-1] < len(audio):
        cuts.append(min(len(audio), cuts[-1] + int(rng.integers(1, longest))))
    return [audio[a:b].astype("<i2").tobytes() for a, b in itertools.pairwise(cuts)]


@torch.inference_mode()
def offline(model: Any, context: Context, audio: Pcm, steps: int) -> tuple[Any, list[tuple[int, int]]]:
    """The whole audio at once, with silence behind it, as `steps` steps see it: encoder frames, tokens with frames.

    NeMo's own forward pass and decoding: (width, frames), [(token, frame)].
    """
    padded = np.zeros(context.mel_after(steps) * HOP, np.int16)
    padded[: len(audio)] = audio[: len(padded)]
    nemo = model.model
    mel, length = nemo.preprocessor(
        input_signal=torch.from_numpy(padded.astype(np.float32) / 32768)[None], length=torch.tensor([len(padded)])
    )
    nemo.encoder.set_default_att_context_size([context.left, context.right])
    encoded, lengths = nemo.encoder(audio_signal=mel, length=length)
    heard = nemo.decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)[0]
    frames = encoded[0, :, : int(lengths[0])]
    return frames, list(zip(heard.y_sequence.tolist(), heard.timestamp.tolist(), strict=True))
