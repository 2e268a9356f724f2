"""The Moonshine network: samples to text, one clip at a time, greedily.

The graphs are Moonshine AI's merged export (Jeffries et al., arXiv:2410.15608): an encoder over raw samples, and a
decoder that takes a token at a time with its caches of keys and values.
"""

import re
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .repeats import text_without_loops

RATE_HZ = 16_000
LAYERS, HEADS, HEAD_SIZE = 6, 8, 36
BEGIN, END = 1, 2
# The model's authors stop here: beyond it lie repetition loops, not speech.
TOKENS_PER_S = 6.5
# For clips so short that the rate alone would cut a word that has many tokens.
SPARE_TOKENS = 4
# The encoder's convolutions refuse less than 0.1 s, and what is just above reads as nonsense.
SHORTEST = RATE_HZ // 2

Samples = NDArray[np.float32]


class Moonshine:
    """A loaded model. Not for two threads at once."""

    def __init__(self, folder: Path) -> None:
        self._encoder = _session(folder / "encoder_model.ort")
        self._decoder = _session(folder / "decoder_model_merged.ort")
        self._outputs = [output.name for output in self._decoder.get_outputs()]
        # The keys and values of the encoder's output are computed once; later steps would only copy them.
        self._later_outputs = [name for name in self._outputs if ".encoder." not in name]
        self._pieces = read_pieces((folder / "tokenizer.bin").read_bytes())

    def text(self, samples: Samples, gives_up: Callable[[], bool] = lambda: False) -> str | None:
        """The text of a clip in -1 to 1. `gives_up` is asked before each token; None when it said so.

        Words that the decoder repeats are checked against the audio, part by part: up to three times the time in all.
        """
        return text_without_loops(samples, lambda part: self._decoded(part, gives_up))

    def _decoded(self, samples: Samples, gives_up: Callable[[], bool]) -> str | None:
        if gives_up():
            return None
        clip = np.pad(samples, (0, max(0, SHORTEST - len(samples))))[None]
        mask = np.ones(clip.shape, np.int64)
        hidden = self._encoder.run(None, {"input_values": clip, "attention_mask": mask})[0]
        feed: dict[str, Any] = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask, **_no_past()}
        tokens: list[int] = []
        for _ in range(ceil(len(samples) / RATE_HZ * TOKENS_PER_S) + SPARE_TOKENS):
            if gives_up():
                return None
            token = self._step(feed, tokens)
            if token == END:
                break
            tokens.append(token)
        return detokenized(self._pieces, tokens)

    def _step(self, feed: dict[str, Any], tokens: list[int]) -> int:
        feed["input_ids"] = np.array([[tokens[-1] if tokens else BEGIN]], np.int64)
        feed["use_cache_branch"] = np.array([bool(tokens)])
        names = self._later_outputs if tokens else self._outputs
        values = dict(zip(names, self._decoder.run(names, feed), strict=True))
        logits = values.pop("logits")
        feed.update({name.replace("present", "past_key_values", 1): value for name, value in values.items()})
        return int(logits[0, -1].argmax())


def read_pieces(data: bytes) -> list[bytes]:
    """The vocabulary of a Moonshine tokenizer file: each piece behind its length in one byte, or two."""
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size >= 128:
            size += data[at] * 128 - 128
            at += 1
        pieces.append(data[at : at + size])
        at += size
    return pieces


def detokenized(pieces: list[bytes], tokens: list[int]) -> str:
    """Text of tokens: "<0x41>" is a byte, other "<…>" are signs to the model, "▁" is a space."""
    out = b""
    for token in tokens:
        piece = pieces[token] if token < len(pieces) else b""
        if byte := re.fullmatch(rb"<0x([0-9A-F]{2})>", piece):
            out += bytes([int(byte.group(1), 16)])
        elif not (len(piece) > 2 and piece.startswith(b"<") and piece.endswith(b">")):
            out += piece
    return out.decode("utf-8", "replace").replace("▁", " ").strip()


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # A spinning pool takes a core from the speech and language models beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _no_past() -> dict[str, Samples]:
    empty = np.zeros((1, HEADS, 0, HEAD_SIZE), np.float32)
    return {
        f"past_key_values.{layer}.{side}.{part}": empty
        for layer in range(LAYERS)
        for side in ("decoder", "encoder")
        for part in ("key", "value")
    }
