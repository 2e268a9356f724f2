"""Streamed sound is the sound of everything at once; where the codec looks ahead, nearly."""

import math
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from antiphon_tts.backends.magpie.vocoder import Vocoder, Window, decode, measure

FRAMES = 70


def history(magpie: Any, slots: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    size = (slots, magpie.num_audio_codebooks, FRAMES)
    return torch.randint(0, magpie.codebook_size, size, generator=generator).to(torch.int16)


def whole(magpie: Any, codes: torch.Tensor) -> Any:
    with torch.inference_mode():
        return decode(magpie, codes[None])[0].numpy()


def streamed(vocoder: Vocoder, slot: int, cuts: list[int]) -> Any:
    edges = [0, *cuts, FRAMES]
    sounds = [
        vocoder.run([Window(slot, start, stop, min(vocoder.field.ahead, FRAMES - stop))])[0]
        for start, stop in pairwise(edges)
    ]
    return np.concatenate(sounds)


def snr_db(sound: Any, reference: Any) -> float:
    error = float(((sound - reference) ** 2).mean())
    return 10 * math.log10(float((reference**2).mean()) / error) if error else math.inf


@pytest.mark.parametrize("seed", range(5))
def test_a_causal_codec_streams_what_it_says_offline(magpie: Any, seed: int) -> None:
    field = measure(magpie, torch.device("cpu"), look_ahead_db=50)
    assert field.ahead == 0 and field.error_db == math.inf
    vocoder = Vocoder(magpie, codes := history(magpie), field)
    cuts = sorted(random.Random(seed).sample(range(1, FRAMES), 12))
    assert np.abs(streamed(vocoder, 1, cuts) - whole(magpie, codes[1])).max() <= 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_a_codec_that_looks_ahead_is_held_back_until_it_is_close(magpie_ahead: Any, seed: int) -> None:
    field = measure(magpie_ahead, torch.device("cpu"), look_ahead_db=50)
    assert 0 < field.ahead <= 8 and field.error_db >= 50
    vocoder = Vocoder(magpie_ahead, codes := history(magpie_ahead), field)
    cuts = sorted(random.Random(seed).sample(range(1, FRAMES), 12))
    assert snr_db(streamed(vocoder, 1, cuts), whole(magpie_ahead, codes[1])) >= 40


def test_the_field_is_what_truncation_shows(magpie: Any, magpie_ahead: Any) -> None:
    for model in (magpie, magpie_ahead):
        field = measure(model, torch.device("cpu"), look_ahead_db=100)
        codes = history(model)[0]
        reference, at = whole(model, codes), 40
        enough = whole(model, codes[:, at - field.back : at + 1 + field.ahead])
        frame = enough[field.back * 1024 : (field.back + 1) * 1024]
        assert snr_db(frame, reference[at * 1024 : (at + 1) * 1024]) > 80
        short = field.back // 2
        less = whole(model, codes[:, at - short :])[short * 1024 : (short + 1) * 1024]
        assert snr_db(less, reference[at * 1024 : (at + 1) * 1024]) < 80


def test_windows_of_many_slots_are_what_they_are_alone(magpie: Any) -> None:
    field = measure(magpie, torch.device("cpu"), look_ahead_db=50)
    vocoder = Vocoder(magpie, history(magpie), field)
    windows = [Window(0, 20, 24, 0), Window(1, 30, 34, 0), Window(2, 0, 2, 0), Window(0, 24, 30, 0), Window(1, 9, 9, 0)]
    together = vocoder.run(windows)
    for window, sound in zip(windows, together, strict=True):
        assert len(sound) == (window.stop - window.start) * 1024
        assert np.abs(sound - vocoder.run([window])[0]).max(initial=0) <= 1e-6
