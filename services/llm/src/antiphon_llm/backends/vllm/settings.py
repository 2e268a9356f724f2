"""What the vLLM backend can be told."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ANTIPHON_LLM_VLLM__"


class VllmSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    model: Annotated[str, Field(min_length=1, description="A folder, or a name on the model hub.")] = (
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8"
    )
    args: Annotated[
        str, Field(description="Flags as `vllm serve` has them; deploy/vllm/recipe.yaml has good ones.")
    ] = ""
