"""What one generation is asked for, and what a step of the model says of it."""

from dataclasses import dataclass

# NeMo's rules for the end of speech (magpietts_modules.py, EOSDetectionMethod): in which codebooks it has to be drawn
# or be likeliest, and whether drawing it is enough.
END_RULES = (
    "argmax_or_multinomial_any",
    "argmax_any",
    "argmax_or_multinomial_all",
    "argmax_all",
    "argmax_or_multinomial_zero_cb",
    "argmax_zero_cb",
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """How codes are drawn; see `Sampling`. `top_k` 0: of all."""

    temperature: float
    top_k: int
    seed: int
    end_rule: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text tokens, the last being the end of the text, and who says them.

    `frames` is how long the speech is to be, 0: until the model ends it.
    """

    tokens: tuple[int, ...]
    speaker: int
    drawing: Drawing
    frames: int = 0


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step has said of a row: the text token it attended to, and how many of the step's frames are speech.

    `frames` below the model's frames a step: the model has ended.
    """

    attended: int
    frames: int
