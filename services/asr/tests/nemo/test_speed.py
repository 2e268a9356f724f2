"""What makes it fast changes no token: compiled encoders, graphs, bfloat16."""

from pathlib import Path
from typing import Any

import pytest
import torch
from speech import pcm
from steps import REWIND, context_of, row, streamed

from antiphon_asr.backends.nemo import loading
from antiphon_asr.backends.nemo.loading import check_graphs, checkpoint
from antiphon_asr.backends.nemo.model import StreamingModel
from antiphon_asr.backends.nemo.pool import Pool
from antiphon_asr.backends.nemo.settings import NemoSettings
from antiphon_runtime.errors import ConfigError

CPU = torch.device("cpu")


def pool_of(model: StreamingModel, slots: int = 6) -> Pool:
    return Pool(model.shape, slots, REWIND, CPU, model.dtype)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_compiled_encoder_hears_the_same_in_batches_of_any_size(tiny: Path, model: Any) -> None:
    compiled = StreamingModel(checkpoint(str(tiny)), CPU, torch.float32, buckets=(2, 4), compiled="default")
    context, audios = context_of(compiled, 160), [pcm(5, seed) for seed in range(40, 43)]
    for count in (1, 2, 3):
        heard, pools = [], []
        for each in (model, compiled):
            pools.append(pool_of(each))
            heard.append(
                [
                    each.step(pools[-1], context, [row(context, slot, audios[slot], step) for slot in range(count)])
                    for step in range(25)
                ]
            )
        assert heard[0] == heard[1] and any(tokens for step in heard[0] for tokens in step)
        frames = count * pools[0].ring
        assert (pools[0]._channel[:frames] - pools[1]._channel[:frames]).abs().max() < 1e-4
    assert list(compiled._compiled) == [context]


def graphs_on_the_cpu(tiny: Path) -> StreamingModel:
    """A model that decodes by the algorithm of the CUDA graphs, run by hand: NeMo's own mode for its tests."""
    model = StreamingModel(checkpoint(str(tiny)), CPU, torch.float32)
    computer = model._decode
    computer.force_cuda_graphs_mode("no_graphs")

    def decode(x: Any, out_len: Any, prev_batched_state: Any = None) -> Any:
        return computer.cuda_graphs_impl(x, out_len, prev_batched_state)

    decode.torch_impl = computer.torch_impl  # type: ignore[attr-defined]
    model._decode = model._decode_with_confidence = decode
    return model


def test_the_algorithm_of_the_graphs_passes_its_check_and_hears_the_same(tiny: Path, model: Any) -> None:
    graphs = graphs_on_the_cpu(tiny)
    for context in graphs.contexts:
        check_graphs(graphs, pool_of(graphs), context)
    context = context_of(model, 160)
    assert (
        streamed(graphs, pool_of(graphs), context, pcm(5, 41), 25)[1]
        == streamed(model, pool_of(model), context, pcm(5, 41), 25)[1]
    )


def test_graphs_that_emit_other_tokens_are_refused_at_start(tiny: Path) -> None:
    wrong = graphs_on_the_cpu(tiny)
    right = wrong._decode

    def decode(x: Any, out_len: Any, prev_batched_state: Any = None) -> Any:
        return right(x.flip(1), out_len, prev_batched_state)

    decode.torch_impl = right.torch_impl  # type: ignore[attr-defined]
    wrong._decode = decode
    with pytest.raises(ConfigError, match=r"CUDA_GRAPHS: with a context of 1120 ms, step \d+ emits"):
        check_graphs(wrong, pool_of(wrong), wrong.contexts[-1])


def test_half_precision_streams_and_hears_something(tiny: Path) -> None:
    half = StreamingModel(checkpoint(str(tiny)), CPU, torch.bfloat16)
    pool = pool_of(half)
    context, audios = context_of(half, 160), [pcm(6, seed) for seed in range(3)]
    heard = [
        half.step(pool, context, [row(context, slot, audio, step) for slot, audio in enumerate(audios)])
        for step in range(30)
    ]
    assert all(sum(len(tokens[slot]) for tokens in heard) > 3 for slot in range(3))
    assert pool._channel.dtype is torch.bfloat16
    assert pool.nbytes < 0.6 * pool_of(StreamingModel(checkpoint(str(tiny)), CPU, torch.float32)).nbytes


def test_a_slots_size_is_told_exactly(model: Any) -> None:
    pool = pool_of(model, 7)
    assert pool.nbytes == 7 * model.shape.slot_bytes(pool.rewind, model.dtype)


def test_warming_up_runs_every_shape_of_production(tiny: Path) -> None:
    own = NemoSettings(model=str(tiny), max_batch=4)
    model = StreamingModel(checkpoint(str(tiny)), CPU, torch.float32, buckets=(1, 2, 4))
    seen: set[tuple[int, bool, int]] = set()
    encode = model._encode

    def noted(pool: Any, context: Any, rows: Any) -> Any:
        seen.add((context.ms, rows[0].step == 0, len(rows)))
        return encode(pool, context, rows)

    model._encode = noted  # type: ignore[method-assign]
    loading.warm_up(own)(model, pool_of(model))
    assert seen == {
        (context.ms, first, size) for context in model.contexts for first in (True, False) for size in (1, 2, 4)
    }


@pytest.mark.parametrize("ms", [80, 1120])
def test_confidences_change_no_token(model: Any, ms: int) -> None:
    context, audio = context_of(model, ms), pcm(6, 42)
    pool, heard = pool_of(model), {}
    for confidence in (False, True):
        heard[confidence] = [
            (token.id, token.frame)
            for step in range(context.steps_within(len(audio)))
            for token in model.step(pool, context, [row(context, 0, audio, step)], confidence=confidence)[0]
        ]
    assert heard[True] == heard[False] and heard[True]
