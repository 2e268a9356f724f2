"""Streamed equals whole: mel features, encoder frames and tokens, in every context and in any company."""

from typing import Any

import numpy as np
import pytest
import torch
from speech import offline, pcm
from steps import REWIND, context_of, row, streamed

from antiphon_asr.backends.nemo.context import HOP, RATE_HZ
from antiphon_asr.backends.nemo.pool import Pool
from antiphon_asr.backends.nemo.row import Row

CONTEXTS_MS = (80, 160, 320, 560, 1120)


@pytest.fixture
def pool(model: Any) -> Pool:
    return Pool(model.shape, 20, REWIND, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("ms", CONTEXTS_MS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_stream_hears_what_the_whole_audio_says(model: Any, pool: Pool, ms: int, seed: int) -> None:
    context, audio = context_of(model, ms), pcm(12.3, seed)
    steps = context.steps_to_flush(len(audio))
    frames, tokens = streamed(model, pool, context, audio, steps)
    whole, expected = offline(model, context, audio, steps)
    assert frames.shape == whole.shape
    assert (frames - whole).abs().max() < 1e-4
    assert tokens == expected
    assert len(tokens) >= 12


def test_other_audio_and_other_contexts_give_other_tokens(model: Any, pool: Pool) -> None:
    heard = {
        (ms, seed): tuple(streamed(model, pool, context_of(model, ms), pcm(8, seed), 5 * 1120 // ms)[1])
        for ms in (80, 1120)
        for seed in range(4)
    }
    assert len(set(heard.values())) == len(heard)


def test_silence_says_nothing(model: Any, pool: Pool) -> None:
    for context in model.contexts:
        assert streamed(model, pool, context, np.zeros(0, np.int16), 20)[1] == []


@pytest.mark.parametrize("ms", CONTEXTS_MS)
def test_features_of_a_step_are_those_of_the_whole_audio(model: Any, ms: int) -> None:
    context, audio = context_of(model, ms), pcm(6, 3)
    whole, _ = model.model.preprocessor(
        input_signal=torch.from_numpy(audio.astype(np.float32) / 32768)[None], length=torch.tensor([len(audio)])
    )
    for step in range(3):
        mel = model._features([row(context, 0, audio, step)])[0]
        last = context.mel_after(step + 1)
        assert (mel - whole[0, :, last - mel.shape[1] : last]).abs().max() < 1e-5


def test_sixteen_together_hear_what_each_hears_alone(model: Any, pool: Pool) -> None:
    context = context_of(model, 160)
    audios = [pcm(5, seed) for seed in range(16)]
    together: list[list[tuple[int, int]]] = [[] for _ in audios]
    for step in range(30):
        rows = [row(context, slot, audio, step) for slot, audio in enumerate(audios)]
        for slot, tokens in enumerate(model.step(pool, context, rows)):
            together[slot] += [(token.id, token.frame) for token in tokens]
    alone = [streamed(model, pool, context, audio, 30, slot=17)[1] for audio in audios]
    assert together == alone


@pytest.mark.parametrize("ms", CONTEXTS_MS)
def test_a_copy_from_some_steps_ago_hears_what_the_stream_heard(model: Any, pool: Pool, ms: int) -> None:
    context, audio = context_of(model, ms), pcm(10, 4)
    steps = context.steps_within(8 * RATE_HZ)
    _, expected = streamed(model, pool, context, audio, steps)
    back = min(REWIND // context.frames, steps - 1)
    base = steps - back
    own_from, copied = context.frames_after(base), []
    for step in range(base, steps):
        mine = row(context, 0, audio, step)
        copy = Row(19, 0, own_from, base, mine.frame, step, mine.window)
        copied += [(token.id, token.frame) for token in model.step(pool, context, [copy])[0]]
    assert copied == [token for token in expected if token[1] >= own_from]
    assert copied


def test_a_slot_keeps_nothing_of_its_last_stream(model: Any, pool: Pool) -> None:
    for context in model.contexts:
        fresh = streamed(model, pool, context, pcm(3, 5), 12, slot=1)
        streamed(model, pool, context, pcm(3, 6), 12, slot=0)
        again = streamed(model, pool, context, pcm(3, 5), 12, slot=0)
        assert torch.equal(fresh[0], again[0]) and fresh[1] == again[1]


def test_padding_a_batch_changes_nothing(tiny: Any, pool: Pool) -> None:
    from antiphon_asr.backends.nemo.loading import checkpoint
    from antiphon_asr.backends.nemo.model import StreamingModel

    plain = StreamingModel(checkpoint(str(tiny)), torch.device("cpu"), torch.float32)
    padded = StreamingModel(checkpoint(str(tiny)), torch.device("cpu"), torch.float32, buckets=(4, 8))
    context = context_of(plain, 160)
    audios = [pcm(4, seed) for seed in range(3)]
    heard = []
    for model in (plain, padded):
        emitted: list[Any] = []
        for step in range(20):
            emitted += model.step(pool, context, [row(context, slot, audio, step) for slot, audio in enumerate(audios)])
        heard.append(emitted)
    assert heard[0] == heard[1]


def test_a_step_looks_at_a_window_of_constant_length(model: Any) -> None:
    for context in model.contexts:
        lengths = {stop - start for start, stop in map(context.window, range(1, 50_000, 1111))}
        assert len(lengths) == 1 and lengths.pop() < 1.4 * RATE_HZ
        assert context.window(1)[0] + (context.history + 3) * HOP == context.first_mel * HOP
