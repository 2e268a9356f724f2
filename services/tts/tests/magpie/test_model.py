"""The model over slots says what NeMo's own loop says, whoever else is in the batch."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from speaking import TEXTS, codes, prompt, settings, solo

from antiphon_tts.backends.magpie.drawing import draw, random_numbers
from antiphon_tts.backends.magpie.loading import load_magpie, make_model
from antiphon_tts.backends.magpie.model import SlotModel, shape_of
from antiphon_tts.backends.magpie.prompt import Drawing, Prompt
from antiphon_tts.backends.magpie.slots import Slots


def nemos(magpie: Any, asked: Prompt, *, steps: int) -> Any:
    """What NeMo's `infer_batch` says, without an end and always the likeliest."""
    options = magpie.inference_parameters
    kept = options.temperature, options.min_generated_frames, options.max_decoder_steps
    options.temperature, options.min_generated_frames, options.max_decoder_steps = 0.0, 10_000, steps
    batch = {
        "text": torch.tensor([asked.tokens]),
        "text_lens": torch.tensor([len(asked.tokens)]),
        "speaker_indices": torch.tensor([asked.speaker]),
    }
    try:
        with torch.inference_mode():
            said = magpie.infer_batch(batch, use_cfg=True, use_local_transformer_for_inference=True)
    finally:
        options.temperature, options.min_generated_frames, options.max_decoder_steps = kept
        magpie.decoder.reset_cache(use_cache=False)
        magpie._lt_helper.local_transformer.reset_cache(use_cache=False)
    return said.predicted_codes[0, :, :steps].to(torch.int16)


@pytest.mark.parametrize(("text", "speaker"), [(TEXTS[0], 2), (TEXTS[2], 4), ("ok", 1), ("a", 0)])
@pytest.mark.parametrize("kind", ["magpie", "magpie_ahead"])
def test_the_codes_are_those_of_nemos_own_loop(
    request: pytest.FixtureRequest, kind: str, text: str, speaker: int, tmp_path: Any
) -> None:
    magpie = request.getfixturevalue(kind)
    model = make_model(magpie, settings(tmp_path), 2)
    asked = prompt(magpie, text, speaker=speaker, frames=48, temperature=0.0)
    assert torch.equal(solo(model, asked, slot=1), nemos(magpie, asked, steps=48))


def test_eight_streams_that_join_at_any_frame_say_what_they_say_alone(magpie: Any, tmp_path: Any) -> None:
    model = make_model(magpie, settings(tmp_path), 8)
    asked = [
        prompt(magpie, text, speaker=number % 5, seed=number, frames=20 + number, temperature=0.5 + number / 10)
        for number, text in enumerate(TEXTS)
    ]
    alone = [solo(model, each) for each in asked]
    joins = {0: [5], 1: [0, 3], 4: [7], 9: [1], 10: [2, 6], 17: [4]}
    said: dict[int, Any] = {}
    steps: dict[int, int] = {}
    for turn in count():
        if newcomers := joins.get(turn, []):
            model.prefill(newcomers, [asked[slot] for slot in newcomers])
            steps.update(dict.fromkeys(newcomers, 1))
        rows = [slot for slot in steps if slot not in newcomers]
        if rows:
            positions = model.positions(max(steps[slot] for slot in rows))
            model.step(rows, positions, max(len(asked[slot].tokens) for slot in rows))
        for slot in rows:
            steps[slot] += 1
        for slot in [slot for slot, done in steps.items() if done == asked[slot].frames]:
            said[slot] = codes(model, slot, asked[slot].frames)
            del steps[slot]
        if len(said) == len(asked):
            break
    for slot, expected in enumerate(alone):
        assert torch.equal(said[slot], expected), slot


def test_one_seed_says_one_thing_and_another_another(magpie: Any, tmp_path: Any) -> None:
    model = make_model(magpie, settings(tmp_path), 2)
    first, again, other = (solo(model, prompt(magpie, TEXTS[0], seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_batch_filled_up_to_a_fixed_size_says_the_same(magpie: Any, tmp_path: Any) -> None:
    asked = prompt(magpie, TEXTS[0])
    plain = make_model(magpie, settings(tmp_path), 4)
    fixed = SlotModel(magpie, plain.slots, buckets=(4,))
    assert torch.equal(solo(fixed, asked, slot=2), solo(plain, asked, slot=2))
    assert not torch.isnan(plain.slots.keys).any()


def test_a_step_keeps_to_its_device_and_looks_at_no_value(tiny: Path) -> None:
    """On the device `meta`, which has shapes but no values, and refuses what is on another: as a GPU is to its host."""
    magpie = load_magpie(settings(tiny), torch.device("cpu"))
    context = magpie._buffers["_baked_embedding_T"]
    magpie.to("meta", torch.bfloat16)
    magpie._buffers["_baked_embedding_T"] = context
    shape = shape_of(magpie, guidance=True, tokens=64)
    model = SlotModel(magpie, Slots(shape, 4, torch.device("meta"), torch.bfloat16))
    with torch.inference_mode():
        told = model._advanced(torch.arange(3, device="meta"), 256, 64)
    assert (told.shape, told.device.type, told.dtype) == ((3, 2), "meta", torch.long)
    with pytest.raises(RuntimeError, match="meta"):
        model._told(told, 3)


def test_without_guidance_a_stream_takes_half_the_memory(magpie: Any, tmp_path: Any) -> None:
    with_it, without = (make_model(magpie, settings(tmp_path, guidance=on), 2) for on in (True, False))
    assert without.slots.keys.numel() * 2 == with_it.slots.keys.numel()
    asked = prompt(magpie, TEXTS[0])
    assert not torch.equal(solo(without, asked), solo(with_it, asked))


def test_speech_ends_by_the_rule_that_was_asked_for(magpie: Any, tmp_path: Any) -> None:
    model = make_model(magpie, settings(tmp_path), 1)
    shape, end = model.slots.shape, magpie.audio_eos_id
    quiet = torch.zeros(1, shape.codes, dtype=torch.long)
    one, first, every = quiet.clone(), quiet.clone(), torch.full_like(quiet, end)
    one[0, 3], first[0, 0] = end, end
    rows = torch.tensor([0])

    def ends(rule: str, likeliest: Any, drawn: Any) -> bool:
        model._admit(0, Prompt((1, 2), 0, Drawing(0.7, 80, 0, rule)))
        return model._frames(likeliest, drawn, rows).tolist() == [0]

    assert ends("argmax_or_multinomial_any", quiet, one) and ends("argmax_or_multinomial_any", one, quiet)
    assert ends("argmax_any", one, quiet) and not ends("argmax_any", quiet, one)
    assert not ends("argmax_all", one, quiet) and ends("argmax_all", every, quiet)
    assert ends("argmax_or_multinomial_all", quiet, every) and not ends("argmax_or_multinomial_all", one, first)
    assert ends("argmax_zero_cb", first, quiet) and not ends("argmax_zero_cb", one, every)
    assert ends("argmax_or_multinomial_zero_cb", quiet, first)


def test_draws_follow_the_distribution_within_top_k() -> None:
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0]).repeat(20_000, 1)
    uniforms = random_numbers(7, 20_000, 1)[:, 0]
    hot, top = torch.full((20_000,), 0.8), torch.full((20_000,), 3)
    drawn = draw(logits, uniforms, hot, top)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    expected = torch.softmax(torch.tensor([2.0, 0.0, 1.0, float("-inf")]) / 0.8, 0)
    assert torch.allclose(shares, expected, atol=0.01)
    assert (draw(logits, uniforms, torch.zeros(20_000), top) == 0).all()
    everything = draw(logits, uniforms, hot, torch.zeros(20_000, dtype=torch.long))
    assert (everything == 3).any()


def test_a_draw_at_the_edges_stays_within_the_tokens() -> None:
    logits = torch.full((2, 5), float("-inf"))
    logits[:, 2] = 0.0
    drawn = draw(logits, torch.tensor([0.0, 1.0 - 2**-24]), torch.ones(2), torch.zeros(2, dtype=torch.long))
    assert drawn.tolist() == [2, 2]
