"""The recognizer: one model, one thread, any number of streams."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.server import Host
from antiphon_runtime.settings import ServerSettings, read_settings
from antiphon_runtime.weights import DEFAULT_DIR, require

from ...weights import MOONSHINE, MOONSHINE_DIR
from .. import StreamConfig, Work
from .decoder import MoonshineDecoder
from .model import RATE_HZ, Moonshine
from .worker import Worker

PREFIX = "ANTIPHON_ASR_MOONSHINE__"
# Clips of every length have the same graph; two warm the allocator for the shortest and the longest that are decoded.
WARM_S = (0.5, 12.0)
# One thread decodes 12 s in a quarter of a second: eight callers who pause together still get their texts in time.
DEFAULT_SLOTS = 8


class MoonshineSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, populate_by_name=True)

    models_dir: Annotated[
        Path,
        Field(
            validation_alias=AliasChoices(f"{PREFIX}MODELS_DIR", "ANTIPHON_MODELS_DIR"),
            description="Where the weights are; ANTIPHON_MODELS_DIR says it for all services.",
        ),
    ] = DEFAULT_DIR


class MoonshineRecognizer:
    models = ("moonshine-tiny-en",)
    languages = ("en-US", "en")
    rates_hz = (RATE_HZ,)
    contexts_ms = ()
    word_times = False
    word_confidence = False
    default_slots = DEFAULT_SLOTS

    def __init__(self, model: Moonshine) -> None:
        self._model = model
        self._worker = Worker()

    @classmethod
    def load(cls, settings: ServerSettings) -> Self:
        """Raises ConfigError when the weights are missing or not those that are pinned."""
        own = read_settings(MoonshineSettings)
        model = Moonshine(require(own.models_dir, MOONSHINE) / MOONSHINE_DIR)
        for seconds in WARM_S:
            model.text(np.zeros(int(seconds * RATE_HZ), np.float32))
        return cls(model)

    def attach(self, host: Host) -> None:
        pass

    def decoder(self, config: StreamConfig) -> MoonshineDecoder:
        return MoonshineDecoder(self._model, self._worker, interims=config.interim_results)

    def work(self) -> Mapping[str, Work]:
        return self._worker.work()

    def close(self) -> None:
        self._worker.close()
