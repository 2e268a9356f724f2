"""The models that can speak: what each must offer, and where each is found."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ..cleaning import Line


class Mode(StrEnum):
    """How a reply trades first audio against smoothness."""

    BATCH = "BATCH"
    STREAM = "STREAM"
    HYBRID = "HYBRID"


@dataclass(frozen=True, slots=True)
class Voice:
    """What a reply is spoken with. `rate_hz` is the rate the caller wants."""

    name: str
    rate_hz: int
    mode: Mode = Mode.STREAM


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
    def voices(self) -> Mapping[str, str]:
        """Each voice's language as a BCP-47 tag; the first voice is the default."""
        ...

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes there are, the default first."""
        ...

    @property
    def rate_hz(self) -> int:
        """The model's own rate."""
        ...

    def speak(self, line: Line, voice: Voice, deadline: float) -> AsyncGenerator[Speech, None]:
        """The segment's audio as it is made; never blocks the loop.

        `deadline` is the monotonic second at which the listener runs out of audio, 0 for a reply's first segment:
        among waiting streams the earliest goes first. Closing the generator drops what has not begun.
        """
        ...

    def close(self) -> None: ...


BACKENDS = {
    "stub": "antiphon_tts.backends.stub:StubSynthesizer",
    "hibari": "antiphon_tts.backends.hibari:HibariSynthesizer",
}
