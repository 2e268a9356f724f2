"""Every setting of this service, from ANTIPHON_TTS_* variables. Backends have their own."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from antiphon_runtime.settings import ServerSettings, read_settings

from .segments import Limits

OTHERS = ("ANTIPHON_TTS_HIBARI__", "ANTIPHON_TTS_MAGPIE__", "ANTIPHON_TTS_STUB__")


class Settings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_TTS_", frozen=True)

    bind: Annotated[str, Field(description="host:port to serve gRPC on; port 0 takes a free one.")] = "127.0.0.1:50052"
    slots: Annotated[int, Field(ge=0, description="Streams at once; 0: as many as the backend says it can hold.")] = 0
    first_min_words: Annotated[int, Field(ge=1, description="A reply's first clause has at least so many words.")] = 3
    first_max_words: Annotated[int, Field(ge=1, description="Cut the first segment here when no mark comes.")] = 8
    max_segment_chars: Annotated[int, Field(ge=20, le=400, description="No segment is longer.")] = 200
    max_pending_chars: Annotated[int, Field(ge=400, description="Text a stream may have unspoken.")] = 20_000
    ahead_s: Annotated[float, Field(gt=0, description="Audio a stream may be ahead of its listener.")] = 30.0
    event_ms: Annotated[int, Field(ge=10, le=1000, description="Audio in one event.")] = 80

    @model_validator(mode="after")
    def _ordered(self) -> "Settings":
        if self.first_max_words < self.first_min_words:
            raise ValueError("first_max_words must not be below first_min_words")
        return self

    @property
    def limits(self) -> Limits:
        return Limits(self.first_min_words, self.first_max_words, self.max_segment_chars)


def read() -> Settings:
    """The settings of the environment. Raises ConfigError."""
    return read_settings(Settings, others=OTHERS)
