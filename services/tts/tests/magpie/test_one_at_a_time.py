"""The baseline is the same model, and says as much: what is measured against it is how it is served."""

from pathlib import Path
from typing import Any

import pytest
import torch
from speaking import TEXTS, prompt, settings, solo

from antiphon_tts.backends import Mode, Voice
from antiphon_tts.backends.magpie.loading import make_model
from antiphon_tts.backends.magpie.nemo_loop import frame_by_frame
from antiphon_tts.backends.magpie.one_at_a_time import OneAtATime
from antiphon_tts.cleaning import clean


@pytest.mark.parametrize("kind", ["magpie", "magpie_ahead"])
def test_the_loop_without_a_cache_says_what_the_slots_say(request: pytest.FixtureRequest, kind: str) -> None:
    magpie = request.getfixturevalue(kind)
    asked = prompt(magpie, TEXTS[0], frames=24, temperature=0.0)
    kept, magpie.inference_parameters.temperature = magpie.inference_parameters.temperature, 0.0
    try:
        codes = torch.cat(list(frame_by_frame(magpie, asked.tokens, most=24, endless=True)), 2)[0]
    finally:
        magpie.inference_parameters.temperature = kept
    ours = solo(make_model(magpie, settings(Path("tiny.nemo")), 1), asked)
    assert torch.equal(codes.to(torch.int16), ours)


async def test_both_of_its_modes_make_speech_of_the_forced_length(magpie: Any) -> None:
    baseline = OneAtATime(magpie, settings(Path("tiny.nemo"), frames_per_token=1.0))
    tokens = len(prompt(magpie, "hello there").tokens)
    for mode, pieces in ((Mode.BATCH, 1), (Mode.STREAM, 2)):
        voice = Voice("john", 22_050, mode)
        speeches = [speech async for speech in baseline.speak(clean("hello there"), voice, 0.0)]
        samples = sum(len(speech.pcm) for speech in speeches) // 2
        assert tokens * 1024 - 22_050 // 2 <= samples <= tokens * 1024
        assert sum(bool(speech.pcm) for speech in speeches) == pieces
