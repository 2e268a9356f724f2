"""The settings of this backend, from ANTIPHON_TTS_MAGPIE__* variables."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ANTIPHON_TTS_MAGPIE__"


class MagpieSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    model: Annotated[str, Field(description="A .nemo file, or a name on the model hub.")] = (
        "nvidia/magpie_tts_multilingual_357m"
    )
    codec: Annotated[str, Field(description="The codec's .nemo file; empty: what the model names.")] = ""
    voices: Annotated[str, Field(description="Names of the model's speakers in its order, comma-separated.")] = (
        "john,sofia,aria,jason,leo"
    )
    languages: Annotated[str, Field(description="What is spoken, the default first; comma-separated.")] = "en-US"
    device: Annotated[str, Field(description="cuda:0, another GPU, or cpu. auto: the first GPU if there is one.")] = (
        "auto"
    )
    dtype: Annotated[
        str, Field(pattern="^(auto|bfloat16|float32)$", description="auto: bfloat16 on a GPU, else float32.")
    ] = "auto"
    tf32: Annotated[
        bool, Field(description="Let a GPU round float32 products to TF32: faster, and windows fit less exactly.")
    ] = False
    threads: Annotated[int, Field(ge=1, description="CPU threads of the model.")] = 1
    guidance: Annotated[
        bool, Field(description="Classifier-free guidance, at twice the work; off for a distilled model.")
    ] = True
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Of requests that name none: one seed, one audio.")] = 0
    first_frames: Annotated[
        int, Field(ge=1, le=16, description="Frames in a reply's first window, and in each one of STREAM.")
    ] = 2
    look_ahead_db: Annotated[
        float, Field(ge=40, le=120, description="How far below the speech the error of looking ahead less must be.")
    ] = 50.0
    max_batch: Annotated[int, Field(ge=1, le=512, description="Streams in a step at most.")] = 64
    prefill_batch: Annotated[int, Field(ge=1, le=64, description="New segments that are read at once.")] = 8
    most_tokens: Annotated[int, Field(ge=32, le=2048, description="Text tokens of one generation at most.")] = 512
    memory_share: Annotated[
        float, Field(gt=0, le=0.95, description="Of the memory that is free once the model is loaded, for slots.")
    ] = 0.6
    comfort_s: Annotated[
        float, Field(gt=0, description="A stream with so much audio ahead of its listener yields to those with less.")
    ] = 2.0
    lead_ms: Annotated[int, Field(ge=0, description="Silence kept before a segment's first sound.")] = 40
    most_lead_ms: Annotated[int, Field(ge=0, description="Leading silence that is dropped at most.")] = 500
    normalize: Annotated[bool, Field(description="Write out numbers, dates and money.")] = True
    cache_dir: Annotated[Path, Field(description="Where compiled grammars are kept.")] = Path(
        "~/.cache/antiphon/grammars"
    )
    frames_per_token: Annotated[
        float,
        Field(ge=0, le=20, description="For random weights: speech is so long, and has no end of its own; 0: off."),
    ] = 0.0
    compile: Annotated[
        str,
        Field(
            pattern="^(off|default|reduce-overhead|max-autotune)$",
            description="torch.compile of the step, by its mode; reduce-overhead is CUDA graphs. Starts slowly.",
        ),
    ] = "off"
