"""What the model remembers: a sequence of evaluated tokens for each slot, all in one context of llama.cpp."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from antiphon_runtime.errors import BackendFailed, ConfigError

from .settings import LlamaCppSettings
from .weights import Weights

# LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: of a hybrid's sequence only what cannot be taken back, its recurrent state.
PARTIAL = 1


class Row(NamedTuple):
    """A token to evaluate: the slot's next, at `position`. `wanted`: what comes after it will be asked."""

    slot: int
    token: int
    position: int
    wanted: bool


class Context:
    """One thread's. The sequences are apart from each other, so that none's results depend on how long another is."""

    def __init__(self, weights: Weights, slots: int, own: LlamaCppSettings) -> None:
        """Raises ConfigError when there is not memory enough for so many slots."""
        self.weights = weights
        self._c = c = weights.library.c
        params = c.llama_context_default_params()
        params.n_ctx, params.n_seq_max = own.n_ctx * slots, slots
        params.n_batch = params.n_ubatch = own.n_batch + slots
        params.n_threads, params.n_threads_batch = own.decode_threads, own.threads
        self.handle = c.llama_init_from_model(weights.handle, params)
        if not self.handle:
            raise ConfigError(f"llama.cpp has no memory for {slots} slots of {own.n_ctx} tokens")
        self.length = c.llama_n_ctx_seq(self.handle)
        self._memory = c.llama_get_memory(self.handle)
        self._batch = c.llama_batch_init(own.n_batch + slots, 0, 1)

    def evaluate(self, rows: Sequence[Row]) -> None:
        """Raises BackendFailed when llama.cpp could not; then the rows' sequences are as they were, or lost."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for number, row in enumerate(rows):
            batch.token[number], batch.pos[number] = row.token, row.position
            batch.n_seq_id[number], batch.seq_id[number][0] = 1, row.slot
            batch.logits[number] = row.wanted
        if (code := self._c.llama_decode(self.handle, batch)) != 0:
            raise BackendFailed(f"llama.cpp could not evaluate {len(rows)} tokens (code {code})")

    def forget(self, slot: int, position: int = -1) -> bool:
        """Takes back the slot's tokens from `position` on, by default all. False: this model cannot, or not so few."""
        return bool(self._c.llama_memory_seq_rm(self._memory, slot, position, -1))

    def saved(self, slot: int, *, partial: bool = False) -> bytes:
        """The slot's state, in host memory."""
        flags = PARTIAL if partial else 0
        size = self._c.llama_state_seq_get_size_ext(self.handle, slot, flags)
        data = ctypes.create_string_buffer(size)
        written = self._c.llama_state_seq_get_data_ext(self.handle, data, size, slot, flags)
        return data.raw[:written]

    def restore(self, slot: int, data: bytes, *, partial: bool = False) -> bool:
        """Puts back what was `saved`. False: it could not be, and the slot is empty."""
        if self._c.llama_state_seq_set_data_ext(self.handle, data, len(data), slot, PARTIAL if partial else 0):
            return True
        self.forget(slot)
        return False

    def close(self) -> None:
        self._c.llama_batch_free(self._batch)
        self._c.llama_free(self.handle)
