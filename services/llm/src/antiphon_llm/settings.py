"""Every setting of this service, from ANTIPHON_LLM_* variables. Backends read their own."""

from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from antiphon_runtime.settings import ServerSettings, read_settings

from .backends import BACKENDS

PREFIX = "ANTIPHON_LLM_"


class Settings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    bind: Annotated[str, Field(description="host:port to serve gRPC on; port 0 takes a free one.")] = "127.0.0.1:50053"
    slots: Annotated[int, Field(ge=1, description="Turns generated at once, and conversations kept warm.")] = 4
    grant_timeout_s: Annotated[float, Field(gt=0, description="How long a turn may rest without a grant.")] = 30.0
    max_tokens: Annotated[int, Field(ge=1, description="The most tokens of one turn.")] = 256
    temperature: Annotated[float, Field(ge=0, le=2, description="When a caller gives none; 0 is greedy.")] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1, description="When a caller gives none.")] = 1.0


def read(**overrides: Any) -> Settings:
    """The settings in effect. Raises ConfigError for an unknown name or a value that is not allowed."""
    return read_settings(Settings, others=[f"{PREFIX}{name.upper()}__" for name in BACKENDS], **overrides)
