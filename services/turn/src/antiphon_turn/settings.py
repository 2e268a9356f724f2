"""What the service can be told, from ANTIPHON_TURN_… variables. A backend's own settings are beside the backend."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from antiphon_runtime.settings import ServerSettings, read_settings

from .backends import BACKENDS

PREFIX = "ANTIPHON_TURN_"


class Settings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    bind: Annotated[str, Field(description="host:port to serve gRPC on; port 0 takes a free one.")] = "127.0.0.1:50054"
    slots: Annotated[int, Field(ge=1, description="Speakers followed at once.")] = 16


def backend_prefix(name: str) -> str:
    """The prefix of a backend's own variables: "smart-turn" has ANTIPHON_TURN_SMART_TURN__…"""
    return f"{PREFIX}{name.upper().replace('-', '_')}__"


def read() -> Settings:
    """Raises ConfigError for an unknown name or a value that is not allowed."""
    return read_settings(Settings, others=tuple(map(backend_prefix, BACKENDS)))
