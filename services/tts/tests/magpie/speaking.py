"""What tests speak with: settings, prompts, and a whole generation without an engine."""

from pathlib import Path
from typing import Any

from antiphon_tts.backends.magpie.prompt import END_RULES, Drawing, Prompt
from antiphon_tts.backends.magpie.settings import MagpieSettings

TEXTS = (
    "hello world how are you",
    "good bye my friend",
    "a much longer sentence that keeps going on and on and on",
    "yes",
    "what time is it now please",
    "the quick brown fox jumps over the lazy dog",
    "one two three",
    "please call me back later okay",
)


def settings(path: Path, **changed: Any) -> MagpieSettings:
    return MagpieSettings(model=str(path), normalize=False, **changed)


def prompt(
    magpie: Any, text: str, *, speaker: int = 0, frames: int = 30, temperature: float = 0.7, seed: int = 1
) -> Prompt:
    tokens = magpie.tokenizer.encode(text, tokenizer_name="english_phoneme")
    return Prompt((*tokens, magpie.eos_id), speaker, Drawing(temperature, 80, seed, END_RULES[0]), frames)


def codes(model: Any, slot: int, frames: int) -> Any:
    """What the slot has said, (codebooks, frames)."""
    return model.slots.history[slot, :, :frames].clone()


def solo(model: Any, asked: Prompt, *, slot: int = 0) -> Any:
    """The codes of a generation alone."""
    per_step = model.frames_per_step
    model.prefill([slot], [asked])
    for step in range(1, -(-asked.frames // per_step)):
        model.step([slot], model.positions(step), len(asked.tokens))
    return codes(model, slot, asked.frames)
