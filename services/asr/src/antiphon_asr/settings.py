"""Every setting of this service, from ANTIPHON_ASR_* variables. Backends read their own."""

from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from antiphon_runtime.settings import ServerSettings, read_settings

from .backends import BACKENDS

PREFIX = "ANTIPHON_ASR_"


class Settings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    slots: Annotated[int, Field(ge=0, description="Streams at once; 0: as many as the backend says it can hold.")] = 0
    bind: Annotated[str, Field(description="host:port to serve gRPC on; port 0 takes a free one.")] = "127.0.0.1:50051"


def read(**overrides: Any) -> Settings:
    """The settings in effect. Raises ConfigError for an unknown name or a value that is not allowed."""
    return read_settings(Settings, others=[f"{PREFIX}{name.upper()}__" for name in BACKENDS], **overrides)
