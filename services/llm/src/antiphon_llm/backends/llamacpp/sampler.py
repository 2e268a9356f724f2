"""How the next token is chosen, and kept to a grammar."""

import ctypes

import numpy as np

from antiphon_runtime.errors import BackendFailed

from .. import Sampling
from .context import Context
from .library import Candidate, Candidates, ChainParams

# llama.cpp takes 32 bits, of which the last value stands for "random".
SEEDS = 2**32 - 1
# Tokens that the repeat penalty looks back: llama.cpp's own default.
PENALTY_LAST = 64
CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])


class Sampler:
    """One turn's. `grammar` is GBNF, "" for none; an answer that does not begin like a call is free of it."""

    def __init__(self, context: Context, sampling: Sampling, seed: int, grammar: str, repeat_penalty: float) -> None:
        """Raises BackendFailed when llama.cpp does not take the grammar."""
        self._context = context
        self._c = c = context.weights.library.c
        self._chain = c.llama_sampler_chain_init(ChainParams(True))
        if repeat_penalty != 1:
            self._add(c.llama_sampler_init_penalties(PENALTY_LAST, repeat_penalty, 0.0, 0.0))
        if sampling.temperature == 0:
            self._add(c.llama_sampler_init_greedy())
        else:
            self._add(c.llama_sampler_init_top_p(sampling.top_p, 1))
            self._add(c.llama_sampler_init_temp(sampling.temperature))
            self._add(c.llama_sampler_init_dist(seed % SEEDS))
        self._grammar = None
        self._said = b""
        if grammar:
            self._grammar = c.llama_sampler_init_grammar(context.weights.vocab, grammar.encode(), b"root")
            if not self._grammar:
                raise BackendFailed(
                    f"llama.cpp does not take the tools' grammar: {'; '.join(context.weights.library.errors)}"
                )

    def choose(self, row: int) -> int:
        """The token after the row of that number in the batch evaluated last."""
        if not self._grammar:
            return int(self._c.llama_sampler_sample(self._chain, self._context.handle, row))
        weights = self._context.weights
        logits = np.ctypeslib.as_array(self._c.llama_get_logits_ith(self._context.handle, row), (weights.size,))
        token = self._applied(logits, self._chain)
        # The grammar looks at every token of the vocabulary: only what it forbids is worth that.
        if not self._allows(token):
            token = self._applied(logits, self._grammar, self._chain)
        self._c.llama_sampler_accept(self._chain, token)
        self._c.llama_sampler_accept(self._grammar, token)
        self._said += weights.piece(token)
        if self._said.strip() and not self._said.lstrip().startswith(b"{"):
            self._drop_grammar()
        return token

    def close(self) -> None:
        self._drop_grammar()
        self._c.llama_sampler_free(self._chain)

    def _add(self, sampler: int) -> None:
        self._c.llama_sampler_chain_add(self._chain, sampler)

    def _applied(self, logits: np.ndarray, *samplers: int | None) -> int:
        rows = np.zeros(len(logits), CANDIDATE)
        rows["id"], rows["logit"] = np.arange(len(logits)), logits
        data = rows.ctypes.data_as(ctypes.POINTER(Candidate))
        candidates = Candidates(data, len(rows), -1, False)
        for sampler in samplers:
            self._c.llama_sampler_apply(sampler, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id)

    def _allows(self, token: int) -> bool:
        one = Candidate(token, 1.0, 0.0)
        candidates = Candidates(ctypes.pointer(one), 1, -1, False)
        self._c.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        return bool(one.logit > -np.inf)

    def _drop_grammar(self) -> None:
        if self._grammar:
            self._c.llama_sampler_free(self._grammar)
            self._grammar = None
