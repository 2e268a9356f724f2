"""The recognizer: an engine for each device, and any number of streams."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from antiphon_runtime.errors import ConfigError, NoCapacity
from antiphon_runtime.server import Host
from antiphon_runtime.settings import ServerSettings, read_settings

from .. import StreamConfig, Work
from .context import RATE_HZ
from .decoder import NemoDecoder
from .metrics import EngineMetrics
from .settings import PREFIX, NemoSettings

if TYPE_CHECKING:
    from .engine import Engine

DEFAULT_CONTEXT_MS = 160


class NemoRecognizer:
    rates_hz = (RATE_HZ,)
    word_times = True
    word_confidence = True

    def __init__(self, engines: "Sequence[Engine]", own: NemoSettings) -> None:
        self._engines = engines
        self._contexts = {context.ms: context for context in engines[0].model.contexts}
        default = own.context_ms or (DEFAULT_CONTEXT_MS if DEFAULT_CONTEXT_MS in self._contexts else 0)
        if default and default not in self._contexts:
            had = ", ".join(map(str, self._contexts))
            raise ConfigError(f"{PREFIX}CONTEXT_MS: {default} is not one of this model's: {had}")
        self.contexts_ms = sorted(self._contexts, key=lambda ms: (ms != default, ms))
        self.models = (own.model.rpartition("/")[2].removesuffix(".nemo"),)
        self.languages = tuple(language.strip() for language in own.languages.split(",") if language.strip())
        self.default_slots = sum(engine.slots for engine in engines)

    @classmethod
    def load(cls, settings: ServerSettings) -> Self:
        """Raises ConfigError when NeMo, the checkpoint, a device or the memory for the slots is not there."""
        own = read_settings(NemoSettings)
        try:
            from .loading import load_engines
        except ImportError as error:
            raise ConfigError(f"backend 'nemo' needs pip install 'antiphon-asr[nemo]': {error}") from error
        return cls(load_engines(own, settings.slots), own)

    def attach(self, host: Host) -> None:
        metrics = EngineMetrics.register(host.registry, lambda: sum(engine.backlog_s() for engine in self._engines))
        for engine in self._engines:
            engine.attach(metrics, host.lost.set)

    def decoder(self, config: StreamConfig) -> NemoDecoder:
        """On the device with the most free slots that takes it. Raises NoCapacity when none does."""
        refusal: NoCapacity | None = None
        for engine in sorted(self._engines, key=lambda engine: -engine.free_slots):
            try:
                return NemoDecoder(engine, engine.model, self._contexts[config.context_ms], config)
            except NoCapacity as error:
                refusal = refusal or error
        raise refusal or NoCapacity("there is no device")

    def work(self) -> Mapping[str, Work]:
        runs: Counter[str] = Counter()
        seconds: dict[str, float] = {}
        for engine in self._engines:
            for kind, work in engine.work().items():
                runs[kind] += work.runs
                seconds[kind] = seconds.get(kind, 0.0) + work.seconds
        return {kind: Work(runs[kind], seconds[kind]) for kind in runs}

    def close(self) -> None:
        for engine in self._engines:
            engine.close()
