"""The settings of this backend, from ANTIPHON_ASR_NEMO__* variables."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ANTIPHON_ASR_NEMO__"


class NemoSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    model: Annotated[str, Field(description="A .nemo file, or a name on the model hub.")] = (
        "nvidia/nemotron-speech-streaming-en-0.6b"
    )
    languages: Annotated[str, Field(description="What the model hears, the default first; comma-separated.")] = (
        "en-US,en"
    )
    device: Annotated[
        str, Field(description="cuda:0, or several such as cuda:0,cuda:1 with an engine each, or cpu. auto: all GPUs.")
    ] = "auto"
    dtype: Annotated[
        str, Field(pattern="^(auto|bfloat16|float32)$", description="auto: bfloat16 on a GPU, else float32.")
    ] = "auto"
    tf32: Annotated[
        bool, Field(description="Let a GPU round float32 products to TF32: faster, and no longer exact.")
    ] = False
    threads: Annotated[int, Field(ge=1, description="CPU threads of the model.")] = 1
    context_ms: Annotated[int, Field(ge=0, description="The context of streams that name none; 0: 160 if there.")] = 0
    max_batch: Annotated[int, Field(ge=1, le=512, description="Streams in a step at most.")] = 64
    gather_ms: Annotated[float, Field(ge=0, le=100, description="How long a chunk waits for others to join.")] = 5.0
    flushes: Annotated[int, Field(ge=1, le=512, description="Finalizes that run at once.")] = 32
    rewind_ms: Annotated[
        int, Field(ge=1120, le=30_000, description="How far back a finalize may end and still be exact.")
    ] = 2000
    memory_share: Annotated[
        float, Field(gt=0, le=0.95, description="Of the memory that is free once the model is loaded, for slots.")
    ] = 0.6
    most_slots: Annotated[
        int, Field(ge=0, description="Slots at most, however much memory there is; 0: 1024 on a GPU, 64 on the CPU.")
    ] = 0
    most_wait_ms: Annotated[
        float, Field(gt=0, description="Refuse new streams while a chunk has waited this long.")
    ] = 100.0
    restart_after_s: Annotated[
        float,
        Field(ge=0, description="Begin afresh after so much silence; 0: never."),
    ] = 60.0
    compile: Annotated[
        str,
        Field(
            pattern="^(off|default|reduce-overhead|max-autotune)$",
            description="torch.compile of the encoder, by its mode. The first start takes minutes for each context.",
        ),
    ] = "off"
    cuda_graphs: Annotated[
        bool, Field(description="Decode with CUDA graphs, after a check that they emit the same tokens.")
    ] = False
