"""What the vLLM backend can be told."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ANTIPHON_LLM_VLLM__"


class VllmSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    recipe: Annotated[str, Field(description="Of recipe.toml: its model and flags. Empty: none.")] = ""
    model: Annotated[str, Field(description="A folder, or a name on the model hub. Empty: the recipe's.")] = ""
    args: Annotated[str, Field(description="More flags, as `vllm serve` has them.")] = ""
