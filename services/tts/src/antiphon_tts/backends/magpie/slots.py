"""What the model remembers of the streams it speaks for: one slot each, in tensors of fixed shape on its device."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model's memory. `branches` is 2 with guidance, whose other half has slots of its own.

    `positions` of the decoder: the voice's context, the first frame's predecessor, and one a step. `frames` a step.
    """

    layers: int
    branches: int
    heads: int
    head_width: int
    text_heads: int
    text_head_width: int
    positions: int
    tokens: int
    steps: int
    codebooks: int
    frames: int

    @property
    def codes(self) -> int:
        """Codes that a step makes for a row."""
        return self.codebooks * self.frames

    def slot_bytes(self, dtype: torch.dtype) -> int:
        own = self.positions * self.heads * self.head_width
        text = self.tokens * self.text_heads * self.text_head_width
        return 2 * self.layers * self.branches * (own + text) * dtype.itemsize + self.steps * self.codes * 12


class Slots:
    """Keys, values and counters of `count` streams, and of one more slot that fills up batches of fixed size.

    The rows of a branch lie behind those of the other: slot s is the rows s and s + `rows`.
    """

    def __init__(self, shape: Shape, count: int, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape
        self.count = count
        self.rows = count + 1
        self.device = device
        every = self.rows * shape.branches

        def zeros(*size: int, of: torch.dtype = dtype) -> torch.Tensor:
            return torch.zeros(size, device=device, dtype=of)

        own = (shape.layers, every, shape.heads, shape.positions, shape.head_width)
        text = (shape.layers, every, shape.text_heads, shape.tokens, shape.text_head_width)
        self.keys, self.values = zeros(*own), zeros(*own)
        self.text_keys, self.text_values = zeros(*text), zeros(*text)
        self.known = zeros(every, shape.positions, of=torch.bool)
        self.text_known = zeros(every, shape.tokens, of=torch.bool)
        # What fills a batch up attends to something, or its softmax would be of nothing.
        self.known[:, 0].fill_(True)
        self.text_known[:, 0].fill_(True)
        self.position = zeros(self.rows, of=torch.long)
        self.step = zeros(self.rows, of=torch.long)
        self.codes = zeros(self.rows, shape.codebooks, shape.frames, of=torch.long)
        self.history = zeros(self.rows, shape.codebooks, shape.steps * shape.frames, of=torch.int16)
        self.length = torch.full((self.rows,), 6, device=device)
        self.attended = torch.ones(self.rows, device=device, dtype=torch.long)
        self.counts = zeros(self.rows, shape.tokens, of=torch.long)
        self.prior = torch.ones(self.rows, shape.tokens, device=device)
        self.temperature = zeros(self.rows, of=torch.float32)
        self.top_k = zeros(self.rows, of=torch.long)
        self.end_scope = zeros(self.rows, of=torch.long)
        self.end_drawn = zeros(self.rows, of=torch.bool)
        self.endless = zeros(self.rows, of=torch.bool)
        self.uniforms = zeros(self.rows, shape.steps, shape.codes, of=torch.float32)

    def both(self, slots: torch.Tensor) -> torch.Tensor:
        """The rows of the slots, those of the guided branch first."""
        return torch.cat([slots + branch * self.rows for branch in range(self.shape.branches)])
