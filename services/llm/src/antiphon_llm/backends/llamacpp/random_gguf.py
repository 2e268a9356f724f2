"""GGUF files of Nemotron 3 Nano's architecture with random weights: for tests and benches, where no weights are.

`antiphon-llm-random tiny.gguf` makes one with the vocabulary and chat template of SmolLM2. It says words of no meaning,
always the same and without an end. Its layers are Nemotron-H's: Mamba-2 (M), experts (E) and attention (*).
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.weights import DEFAULT_DIR, require

from ...weights import SMOLLM2, SMOLLM2_FILE

ARCHITECTURE = "nemotron_h_moe"
Tensor = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Size:
    """`pattern` has a letter a layer. Widths are those of Hugging Face's NemotronHConfig."""

    pattern: str
    width: int
    heads: int
    key_heads: int
    head: int
    inner: int
    ssm_heads: int
    state: int
    groups: int
    experts: int
    expert: int
    shared: int


SIZES = {
    "tiny": Size("MEM*E", 64, 4, 2, 16, 128, 8, 16, 2, 4, 32, 32),
    # The pattern of Nemotron 3 Nano 30B-A3B, its first quarter, and its widths: 8 of its 128 experts.
    "mid": Size("MEMEM*EMEMEM*", 2688, 32, 2, 128, 4096, 64, 128, 8, 8, 1856, 3712),
}
CONV, USED = 4, 2
# A token that begins a word: byte-level BPE writes the space before it so.
WORD = re.compile("Ġ[a-z]+")


def make(path: Path, vocabulary: Path, size: Size = SIZES["tiny"], *, seed: int = 0, context: int = 4096) -> Path:
    """Writes the model to `path`, with the tokens and the chat template of the GGUF file `vocabulary`."""
    import gguf

    reader = gguf.GGUFReader(vocabulary)
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    words: list[bool] = []
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            kind, *sub = field.types
            writer.add_key_value(name, field.contents(), kind, sub_type=sub[-1] if sub else None)
            if name == "tokenizer.ggml.tokens":
                words = [bool(WORD.fullmatch(token)) for token in field.contents()]
    _describe(writer, size, context)
    for name, tensor in _tensors(size, np.array(words), np.random.default_rng(seed)):
        narrow = tensor.ndim == 1 or "ssm" in name or "gate_inp" in name
        writer.add_tensor(name, tensor if narrow else tensor.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any, size: Size, context: int) -> None:
    writer.add_context_length(context)
    writer.add_embedding_length(size.width)
    writer.add_block_count(len(size.pattern))
    writer.add_head_count(size.heads)
    writer.add_head_count_kv([size.key_heads if kind == "*" else 0 for kind in size.pattern])
    writer.add_feed_forward_length([size.expert if kind == "E" else 0 for kind in size.pattern])
    writer.add_key_length(size.head)
    writer.add_value_length(size.head)
    writer.add_rope_dimension_count(size.head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(size.inner)
    writer.add_ssm_state_size(size.state)
    writer.add_ssm_time_step_rank(size.ssm_heads)
    writer.add_ssm_group_count(size.groups)
    writer.add_expert_count(size.experts)
    writer.add_expert_used_count(USED)
    writer.add_expert_feed_forward_length(size.expert)
    writer.add_expert_shared_feed_forward_length(size.shared)
    writer.add_expert_shared_count(1)
    writer.add_expert_weights_norm(True)
    writer.add_expert_weights_scale(2.5)


def _tensors(size: Size, words: NDArray[np.bool_], random: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
    """Names and values, in numpy's order of dimensions: the reverse of GGUF's."""

    def normal(*shape: int) -> Tensor:
        return random.normal(0.0, shape[-1] ** -0.5, shape).astype(np.float32)

    def ones(*shape: int) -> Tensor:
        return np.ones(shape, np.float32)

    yield "token_embd.weight", normal(len(words), size.width)
    yield "output_norm.weight", ones(size.width)
    # Of some ten thousand words one always has a logit above 0, which is what all else gets.
    yield "output.weight", 4 * normal(len(words), size.width) * words[:, None]
    convolved = size.inner + 2 * size.groups * size.state
    for number, kind in enumerate(size.pattern):
        here = f"blk.{number}"
        yield f"{here}.attn_norm.weight", ones(size.width)
        if kind == "M":
            yield f"{here}.ssm_in.weight", normal(size.inner + convolved + size.ssm_heads, size.width)
            yield f"{here}.ssm_conv1d.weight", normal(convolved, CONV)
            yield f"{here}.ssm_conv1d.bias", 0 * ones(convolved)
            yield f"{here}.ssm_dt.bias", -2 * ones(size.ssm_heads)
            yield f"{here}.ssm_a", -ones(size.ssm_heads, 1)
            yield f"{here}.ssm_d", ones(size.ssm_heads, 1)
            yield f"{here}.ssm_norm.weight", ones(size.groups, size.inner // size.groups)
            yield f"{here}.ssm_out.weight", normal(size.width, size.inner)
        elif kind == "*":
            yield f"{here}.attn_q.weight", normal(size.heads * size.head, size.width)
            yield f"{here}.attn_k.weight", normal(size.key_heads * size.head, size.width)
            yield f"{here}.attn_v.weight", normal(size.key_heads * size.head, size.width)
            yield f"{here}.attn_output.weight", normal(size.width, size.heads * size.head)
        else:
            yield f"{here}.ffn_gate_inp.weight", normal(size.experts, size.width)
            yield f"{here}.exp_probs_b.bias", 0 * ones(size.experts)
            yield f"{here}.ffn_down_exps.weight", normal(size.experts, size.width, size.expert)
            yield f"{here}.ffn_up_exps.weight", normal(size.experts, size.expert, size.width)
            yield f"{here}.ffn_down_shexp.weight", normal(size.width, size.shared)
            yield f"{here}.ffn_up_shexp.weight", normal(size.shared, size.width)


def main() -> None:
    parser = argparse.ArgumentParser(description="A model of Nemotron 3 Nano's architecture with random weights.")
    parser.add_argument("path", type=Path, help="where to write it, such as tiny.gguf")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", type=Path, help="a GGUF file whose tokens to use, in place of SmolLM2's")
    options = parser.parse_args()
    vocabulary = options.vocabulary or require(DEFAULT_DIR, SMOLLM2) / SMOLLM2_FILE
    make(options.path, vocabulary, SIZES[options.size], seed=options.seed)


if __name__ == "__main__":
    main()
