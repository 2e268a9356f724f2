"""The synthesizer: texts are read, spoken by the engine, and finished for the caller."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Self

from antiphon_runtime.errors import ConfigError, InvalidInput, ServiceError
from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings

from ...cleaning import Line
from ...settings import Settings
from .. import Mode, Said, Sampling, Speech, Voice
from ..audio import Finisher
from .metrics import EngineMetrics
from .prompt import END_RULES, Drawing, Prompt
from .request import Sound
from .settings import PREFIX, MagpieSettings
from .text import Part, Reader
from .timing import WordTimes

if TYPE_CHECKING:
    from .engine import Engine

MOST_TEMPERATURE = 2.0


class MagpieSynthesizer:
    modes = (Mode.HYBRID, Mode.STREAM, Mode.BATCH)

    def __init__(
        self, engine: "Engine", reader: Reader, speakers: int, defaults: Sampling, own: MagpieSettings
    ) -> None:
        names = [name.strip() for name in own.voices.split(",") if name.strip()][:speakers]
        names += [f"speaker-{number}" for number in range(len(names), speakers)]
        self._speakers = {name: number for number, name in enumerate(names)}
        if len(self._speakers) < speakers:
            raise ConfigError(f"{PREFIX}VOICES: {own.voices!r} names a voice twice")
        self._engine = engine
        self._reader = reader
        self._defaults = defaults
        self._own = own
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tts reading")
        self.voices: Mapping[str, tuple[str, ...]] = dict.fromkeys(names, reader.languages)
        self.model = own.model.rpartition("/")[2].removesuffix(".nemo")
        self.rate_hz = engine.vocoder.rate_hz
        self.default_slots = engine.slots

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Raises ConfigError when NeMo, the checkpoint, the device or the memory for the slots is not there."""
        own = read_settings(MagpieSettings)
        try:
            from .loading import load_engine
        except ImportError as error:
            raise ConfigError(f"backend 'magpie' needs pip install 'antiphon-tts[magpie]': {error}") from error
        return cls(*load_engine(own, settings.slots), own)

    def attach(self, host: Host) -> None:
        self._engine.attach(EngineMetrics.register(host.registry), host.lost.set)

    def sampling(self, asked: Sampling) -> Sampling:
        heat, rule = asked.temperature, asked.end_of_speech
        if heat is not None and heat > MOST_TEMPERATURE:
            raise InvalidInput(
                f"config.sampling.temperature {heat} is not drawn at: ask for 0 to {MOST_TEMPERATURE}",
                reason="UNSUPPORTED_SAMPLING",
            )
        if rule is not None and rule not in END_RULES:
            raise InvalidInput(
                f"config.sampling.end_of_speech {rule!r} is no rule: ask for {', '.join(END_RULES)}",
                reason="UNSUPPORTED_SAMPLING",
            )
        return replace(self._defaults, **{name: value for name, value in asdict(asked).items() if value is not None})

    async def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        loop = asyncio.get_running_loop()
        parts = await loop.run_in_executor(self._reading, self._reader.read, line, voice.language)
        if not parts:
            return
        utterance = _Utterance(line, parts, self._finisher(voice), self._engine)
        heard_from = 0.0
        for part in parts:
            runs_out = heard_from + utterance.seconds if heard_from else deadline
            request = self._engine.ask(self._prompt(part, voice), voice.mode, runs_out, ear := _Ear())
            try:
                async for sound in ear.sounds():
                    heard_from = heard_from or max(deadline, loop.time())
                    yield utterance.heard(part, sound)
                    request.silent_s = utterance.silent_s
            finally:
                self._engine.release(request)

    def _prompt(self, part: Part, voice: Voice) -> Prompt:
        asked = self.sampling(voice.sampling)
        assert asked.temperature is not None and asked.top_k is not None and asked.seed is not None
        drawing = Drawing(asked.temperature, asked.top_k, asked.seed, asked.end_of_speech or END_RULES[0])
        frames = max(4, round(len(part.tokens) * self._own.frames_per_token)) if self._own.frames_per_token else 0
        return Prompt(part.tokens, self._speakers[voice.name], drawing, frames)

    def _finisher(self, voice: Voice) -> Finisher:
        return Finisher(self.rate_hz, voice.rate_hz, self._own.lead_ms, self._own.most_lead_ms)

    def close(self) -> None:
        self._engine.close()
        self._reading.shutdown(cancel_futures=True)


class _Ear:
    """What the engine tells, in order. As long as the generation's own sounds, which its prompt bounds."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[Sound | ServiceError] = asyncio.Queue()

    def on_sound(self, sound: Sound) -> None:
        self._heard.put_nowait(sound)

    def on_failure(self, error: ServiceError) -> None:
        self._heard.put_nowait(error)

    async def sounds(self) -> AsyncIterator[Sound]:
        """All of them. Raises what the generation failed with."""
        while True:
            item = await self._heard.get()
            if isinstance(item, ServiceError):
                raise item
            yield item
            if item.last:
                return


class _Utterance:
    """A segment's parts as one stretch of audio, and when its words are heard."""

    def __init__(self, line: Line, parts: list[Part], finisher: Finisher, engine: "Engine") -> None:
        self._parts = parts
        self._finisher = finisher
        self._frame_samples = engine.vocoder.samples
        self._rate_hz = engine.vocoder.rate_hz
        self._times = WordTimes(line, [word for part in parts for word, _, _ in part.words])
        self._part_start = 0
        self._words_before = 0
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / self._rate_hz

    @property
    def silent_s(self) -> float:
        return self._finisher.silent / self._rate_hz

    def heard(self, part: Part, sound: Sound) -> Speech:
        self._samples += len(sound.samples)
        self._mark(part, sound)
        pcm = self._finisher.push(sound.samples)
        if sound.last:
            self._part_start, self._words_before = self._samples, self._words_before + len(part.words)
            if part is self._parts[-1]:
                self._times.ended(self._samples)
                pcm += self._finisher.finish()
        place = self._finisher.place
        said = tuple(Said(text, place(start), place(end)) for text, start, end in self._times.said())
        return Speech(pcm, said, sound.began_s)

    def _mark(self, part: Part, sound: Sound) -> None:
        """Notes where read words begin: at the first frame that attends to them or to what follows."""
        frame = 0
        while (number := self._times.known - self._words_before) < len(part.words):
            start = part.words[number][1] if number else 0
            frame = next((at for at in range(frame, len(sound.attended)) if sound.attended[at] >= start), -1)
            if frame < 0 and not sound.last:
                return
            at = len(sound.attended) if frame < 0 else frame
            self._times.begins(self._part_start + at * self._frame_samples)
            frame = max(frame, 0)
