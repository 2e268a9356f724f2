"""llama.cpp's C functions, as the wheel of xllamacpp exports them.

The wheel's Python part has only a server object, its shared object has all of llama.cpp. The structures below are those
of include/llama.h in that build, as far as they are used: what follows is room that a default fills and nothing here
touches. `opened` compares the defaults with the header's, so that another layout is an error and not a wrong setting.
"""

import ctypes
import importlib.util
import logging
import os
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int8, c_int32, c_int64, c_size_t, c_uint8, c_uint32
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from antiphon_runtime.errors import ConfigError

log = logging.getLogger(__name__)

Pointer = ctypes.c_void_p
OnLog = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, Pointer)
# enum ggml_log_level.
WARN, ERROR = 3, 4


class ModelParams(Structure):
    """The beginning of struct llama_model_params."""

    _fields_: ClassVar[Sequence[Any]] = [
        ("devices", Pointer),
        ("tensor_buft_overrides", Pointer),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("room", c_uint8 * 232),
    ]


class ContextParams(Structure):
    """The beginning of struct llama_context_params."""

    _fields_: ClassVar[Sequence[Any]] = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("unused", c_uint32 * 2),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("kinds", c_int32 * 5),
        ("rope", c_float * 8),
        ("callback", Pointer * 2),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("pointers", Pointer * 3),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("room", c_uint8 * 130),
    ]


class Batch(Structure):
    """struct llama_batch."""

    _fields_: ClassVar[Sequence[Any]] = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", Pointer),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


class Candidate(Structure):
    """struct llama_token_data."""

    _fields_: ClassVar[Sequence[Any]] = [("id", c_int32), ("logit", c_float), ("p", c_float)]


class Candidates(Structure):
    """struct llama_token_data_array."""

    _fields_: ClassVar[Sequence[Any]] = [
        ("data", POINTER(Candidate)),
        ("size", c_size_t),
        ("selected", c_int64),
        ("sorted", c_bool),
    ]


class ChainParams(Structure):
    """struct llama_sampler_chain_params."""

    _fields_: ClassVar[Sequence[Any]] = [("no_perf", c_bool)]


SIGNATURES: dict[str, tuple[Any, ...]] = {
    "llama_model_default_params": (ModelParams,),
    "llama_context_default_params": (ContextParams,),
    "llama_log_set": (None, OnLog, Pointer),
    "llama_backend_init": (None,),
    "llama_model_load_from_file": (Pointer, c_char_p, ModelParams),
    "llama_model_free": (None, Pointer),
    "llama_model_get_vocab": (Pointer, Pointer),
    "llama_model_chat_template": (c_char_p, Pointer, c_char_p),
    "llama_model_is_recurrent": (c_bool, Pointer),
    "llama_model_is_hybrid": (c_bool, Pointer),
    "llama_vocab_n_tokens": (c_int32, Pointer),
    "llama_vocab_bos": (c_int32, Pointer),
    "llama_vocab_eos": (c_int32, Pointer),
    "llama_vocab_get_add_bos": (c_bool, Pointer),
    "llama_vocab_is_eog": (c_bool, Pointer, c_int32),
    "llama_tokenize": (c_int32, Pointer, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    "llama_token_to_piece": (c_int32, Pointer, c_int32, c_char_p, c_int32, c_int32, c_bool),
    "llama_init_from_model": (Pointer, Pointer, ContextParams),
    "llama_free": (None, Pointer),
    "llama_n_ctx_seq": (c_uint32, Pointer),
    "llama_get_memory": (Pointer, Pointer),
    "llama_batch_init": (Batch, c_int32, c_int32, c_int32),
    "llama_batch_free": (None, Batch),
    "llama_decode": (c_int32, Pointer, Batch),
    "llama_get_logits_ith": (POINTER(c_float), Pointer, c_int32),
    "llama_memory_seq_rm": (c_bool, Pointer, c_int32, c_int32, c_int32),
    "llama_state_seq_get_size_ext": (c_size_t, Pointer, c_int32, c_uint32),
    "llama_state_seq_get_data_ext": (c_size_t, Pointer, c_char_p, c_size_t, c_int32, c_uint32),
    "llama_state_seq_set_data_ext": (c_size_t, Pointer, c_char_p, c_size_t, c_int32, c_uint32),
    "llama_sampler_chain_init": (Pointer, ChainParams),
    "llama_sampler_chain_add": (None, Pointer, Pointer),
    "llama_sampler_init_greedy": (Pointer,),
    "llama_sampler_init_dist": (Pointer, c_uint32),
    "llama_sampler_init_top_p": (Pointer, c_float, c_size_t),
    "llama_sampler_init_temp": (Pointer, c_float),
    "llama_sampler_init_penalties": (Pointer, c_int32, c_float, c_float, c_float),
    "llama_sampler_init_grammar": (Pointer, Pointer, c_char_p, c_char_p),
    "llama_sampler_sample": (c_int32, Pointer, Pointer, c_int32),
    "llama_sampler_apply": (None, Pointer, POINTER(Candidates)),
    "llama_sampler_accept": (None, Pointer, c_int32),
    "llama_sampler_free": (None, Pointer),
}
# What the header's defaults are: other values mean that the fields lie elsewhere.
CONTEXT_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "type_k": 1,
    "type_v": 1,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
    "kv_unified": False,
}
MODEL_DEFAULTS = {"devices": None, "tensor_buft_overrides": None, "n_gpu_layers": -1, "split_mode": 1}


class Library:
    """The functions as attributes of `c`, and the last errors that llama.cpp wrote to its log."""

    def __init__(self, c: Any) -> None:
        self.c = c
        self.errors: list[str] = []
        self._on_log = OnLog(self._logged)
        c.llama_log_set(self._on_log, None)
        c.llama_backend_init()

    def _logged(self, level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == ERROR:
            self.errors = [*self.errors[-2:], line]
        if level >= WARN and line:
            log.debug("llama.cpp: %s", line)


@cache
def opened() -> Library:
    """The process's only one: llama.cpp keeps the function that it logs to for as long as the process lives.

    Raises ConfigError when xllamacpp is not installed, or not the build that this was written for."""
    # libgomp reads this when it is loaded, with xllamacpp. Spinning threads starve the other processes of the machine:
    # with two busy ones beside it, not one prompt was finished in 24 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the backend llamacpp needs xllamacpp: pip install 'antiphon-llm[cpu]'")
    (path, *_) = [*Path(spec.submodule_search_locations[0]).glob("xllamacpp*.so"), Path("none")]
    try:
        c = ctypes.CDLL(str(path))
        for name, (result, *arguments) in SIGNATURES.items():
            function = getattr(c, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ConfigError(f"llama.cpp cannot be used from {path}: {error}") from error
    _check("llama_model_params", c.llama_model_default_params(), MODEL_DEFAULTS)
    _check("llama_context_params", c.llama_context_default_params(), CONTEXT_DEFAULTS)
    return Library(c)


def _check(name: str, params: Structure, defaults: dict[str, Any]) -> None:
    found = {field: getattr(params, field) for field in defaults}
    if found != defaults:
        raise ConfigError(f"this build of xllamacpp has another {name}: {found} in place of {defaults}")
