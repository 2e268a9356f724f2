"""The models that can speak: what each must offer, and where each is found."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from antiphon_runtime.server import Host

from ..cleaning import Line


class Mode(StrEnum):
    """How a reply trades first audio against smoothness."""

    BATCH = "BATCH"
    STREAM = "STREAM"
    HYBRID = "HYBRID"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model that draws its speech at random does so; None leaves it to the model.

    `temperature` 0 takes the likeliest, `top_k` 0 all. The same `seed` draws the same. `end_of_speech` is the name of a
    rule for when the model is taken to have ended.
    """

    temperature: float | None = None
    top_k: int | None = None
    seed: int | None = None
    end_of_speech: str | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """What a reply is spoken with. `rate_hz` is the rate the caller wants, `language` a BCP-47 tag."""

    name: str
    rate_hz: int
    mode: Mode = Mode.STREAM
    language: str = "en-US"
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True)
class Said:
    """A written word, and where it is heard: samples from the first of its segment's."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of a segment's audio: 16-bit little-endian samples at the voice's rate.

    `began` is the monotonic second at which the model began to work on it. `said` are words that the segment's
    audio says, none later than the stretch that ends them.
    """

    pcm: bytes
    said: tuple[Said, ...]
    began: float


class Synthesizer(Protocol):
    """A loaded and warmed model: one per process, shared by every stream.

    A class of this kind has `load(settings: Settings) -> Self`, which blocks and raises ConfigError.
    """

    @property
    def model(self) -> str: ...

    @property
    def voices(self) -> Mapping[str, tuple[str, ...]]:
        """What each voice speaks, as BCP-47 tags; the first voice and its first language are the defaults."""
        ...

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes there are, the default first."""
        ...

    @property
    def rate_hz(self) -> int:
        """The model's own rate."""
        ...

    @property
    def default_slots(self) -> int:
        """Streams at once where the settings name no number."""
        ...

    def attach(self, host: Host) -> None:
        """Once, on the event loop, before the first stream: where to count, and whom to tell of a lost device."""
        ...

    def sampling(self, asked: Sampling) -> Sampling:
        """What is in effect. Raises InvalidInput, UNSUPPORTED_SAMPLING, for what the model has not or allows not."""
        ...

    def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        """The segment's audio as it is made, nothing when it has no sound; never blocks the loop.

        `deadline` is the monotonic second at which the listener runs out of audio, 0 for a reply's first segment:
        among waiting streams the earliest goes first. Closing the generator drops what has not begun. Raises
        BackendFailed when the model fails on this segment, Unavailable when its device is gone.
        """
        ...

    def close(self) -> None: ...


# Streams at once of backends that hold nothing for each.
DEFAULT_SLOTS = 8

BACKENDS = {
    "stub": "antiphon_tts.backends.stub:StubSynthesizer",
    "hibari": "antiphon_tts.backends.hibari:HibariSynthesizer",
    "magpie": "antiphon_tts.backends.magpie:MagpieSynthesizer",
}
