"""The states of all streams on the device, by slot: constant in size, and able to go back.

A slot holds the last encoder frames' inputs to every layer's attention and convolution in rings, and the decoder's
state after each of the last steps. Nothing is shifted: a step reads the frames before its own and writes its own. So a
copy of a stream is an index, and the state some steps ago is one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .row import Row

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a slot of a model is made of."""

    layers: int
    width: int
    left: int
    convolution: int
    prediction_layers: int
    prediction_width: int
    joint_width: int

    def slot_bytes(self, rewind: int, dtype: torch.dtype) -> int:
        """Bytes of one slot that goes back `rewind` frames."""
        caches = (self.left + self.convolution + 2 * rewind) * self.layers * self.width
        states = (rewind + 1) * (2 * self.prediction_layers * self.prediction_width + self.joint_width)
        return (caches + states) * dtype.itemsize + (rewind + 1) * 16


@dataclass(frozen=True, slots=True)
class State:
    """A batch's state before a step, as the encoder and the decoder take it."""

    channel: torch.Tensor
    time: torch.Tensor
    channel_length: torch.Tensor
    prediction: tuple[torch.Tensor, torch.Tensor]
    prediction_output: torch.Tensor
    label: torch.Tensor
    decoded: torch.Tensor


class Pool:
    """`slots` slots that go back up to `rewind` frames. Used by one thread."""

    def __init__(self, shape: Shape, slots: int, rewind: int, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape
        self.slots = slots
        self.rewind = rewind
        self.ring = shape.left + rewind
        self.snapshots = rewind + 1
        self._time_ring = shape.convolution + rewind
        self._device = device
        states = slots * self.snapshots

        def zeros(*size: int, dtype: torch.dtype = dtype) -> torch.Tensor:
            return torch.zeros(size, device=device, dtype=dtype)

        self._channel = zeros(slots * self.ring, shape.layers, shape.width)
        self._time = zeros(slots * self._time_ring, shape.layers, shape.width)
        self._hidden = zeros(states, shape.prediction_layers, shape.prediction_width)
        self._cell = zeros(states, shape.prediction_layers, shape.prediction_width)
        self._output = zeros(states, 1, shape.joint_width)
        self._label = zeros(states, dtype=torch.long)
        self._decoded = zeros(states, dtype=torch.long)

    @property
    def nbytes(self) -> int:
        tensors = (self._channel, self._time, self._hidden, self._cell, self._output, self._label, self._decoded)
        return sum(tensor.nbytes for tensor in tensors)

    def read(self, rows: Sequence[Row], left: int) -> State:
        """The rows' state before their step, with `left` frames of attention."""
        channel = self._past(self._channel, rows, left, self.ring)
        time = self._past(self._time, rows, self.shape.convolution, self._time_ring)
        at = self._tensor([_state_slot(row) * self.snapshots + row.step % self.snapshots for row in rows])
        return State(
            channel=channel.permute(2, 0, 1, 3),
            time=time.permute(2, 0, 3, 1),
            channel_length=self._tensor([min(row.frame, left) for row in rows]),
            prediction=(self._layered(self._hidden, at), self._layered(self._cell, at)),
            prediction_output=self._output.index_select(0, at),
            label=self._label.index_select(0, at),
            decoded=self._decoded.index_select(0, at),
        )

    def write(self, rows: Sequence[Row], frames: int, channel: torch.Tensor, time: torch.Tensor, decoder: Any) -> None:
        """Keeps what a step of `frames` frames has left: NeMo's next caches and its BatchedLabelLoopingState."""
        kept = min(frames, self.shape.convolution)
        new = channel[:, :, -frames:].permute(1, 2, 0, 3).flatten(0, 1)
        self._channel.index_copy_(0, self._frames_of(rows, range(frames), self.ring), new)
        new = time[:, :, :, -kept:].permute(1, 3, 0, 2).flatten(0, 1)
        self._time.index_copy_(0, self._frames_of(rows, range(frames - kept, frames), self._time_ring), new)
        at = self._tensor([row.slot * self.snapshots + (row.step + 1) % self.snapshots for row in rows])
        batch = len(rows)
        hidden, cell = decoder.predictor_states
        self._hidden.index_copy_(0, at, hidden[:, :batch].transpose(0, 1))
        self._cell.index_copy_(0, at, cell[:, :batch].transpose(0, 1))
        self._output.index_copy_(0, at, decoder.predictor_outputs[:batch])
        self._label.index_copy_(0, at, decoder.labels[:batch])
        self._decoded.index_copy_(0, at, decoder.decoded_lengths[:batch])

    def _past(self, caches: torch.Tensor, rows: Sequence[Row], count: int, ring: int) -> torch.Tensor:
        """The `count` frames before each row's own, (batch, count, layers, width): zeros before a stream's first."""
        past = caches.index_select(0, self._frames_before(rows, count, ring))
        past = past.view(len(rows), count, self.shape.layers, self.shape.width)
        if all(row.frame >= count for row in rows):
            return past
        # What the slot's last stream has left must not be seen, and if it is not a number not even be masked.
        age = torch.arange(count, 0, -1, device=self._device)
        known = self._tensor([row.frame for row in rows])
        return past.masked_fill((age > known[:, None])[:, :, None, None], 0.0)

    def _frames_before(self, rows: Sequence[Row], count: int, ring: int) -> torch.Tensor:
        """Where the `count` frames before each row's own are, in rings of `ring` frames."""
        end = np.array([[row.frame] for row in rows])
        frames = end + np.arange(-count, 0)
        own_from = np.array([[row.own_from] for row in rows])
        slots = np.where(frames < own_from, [[row.parent] for row in rows], [[row.slot] for row in rows])
        return self._tensor((slots * ring + frames % ring).ravel())

    def _frames_of(self, rows: Sequence[Row], offsets: range, ring: int) -> torch.Tensor:
        frames = np.array([[row.frame] for row in rows]) + np.array(offsets)
        return self._tensor((np.array([[row.slot] for row in rows]) * ring + frames % ring).ravel())

    def _tensor(self, indices: "Indices | list[int]") -> torch.Tensor:
        return torch.from_numpy(np.asarray(indices, np.int64)).to(self._device, non_blocking=True)

    @staticmethod
    def _layered(states: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return states.index_select(0, at).transpose(0, 1).contiguous()


def _state_slot(row: Row) -> int:
    """The slot that holds the decoder's state before the row's step."""
    return row.parent if row.step <= row.own_from_step else row.slot
