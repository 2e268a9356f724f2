"""What a speech recognizer is to the rest of this service.

A Recognizer is a loaded model, one per process. It makes a Decoder for each stream, which only decodes: samples are
counted, finalizes wait for their audio and events are queued in `session.py`, once for all backends.
Everything here is called on the event loop and must not block it, except `load` and `close` of a Recognizer.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, Self

from antiphon_runtime.server import Host
from antiphon_runtime.settings import ServerSettings

BACKENDS = {
    "stub": "antiphon_asr.backends.stub:StubRecognizer",
    "moonshine": "antiphon_asr.backends.moonshine:MoonshineRecognizer",
    "nemo": "antiphon_asr.backends.nemo:NemoRecognizer",
}

# How far before the newest audio a finalize may end. A decoder keeps at least this much audio, and needs no more.
LOOKBACK_S = 30


class Mode(Enum):
    """What becomes of the utterance once its text is known: it goes on, or ends."""

    SPECULATE = "speculate"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Finalize:
    """Asks for the utterance's text up to `end_sample` of the stream; 0 means all audio so far."""

    id: int
    mode: Mode
    end_sample: int
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """One word and where it was heard, in samples from the stream's first; its confidence, 0 to 1, if asked for."""

    text: str
    start_sample: int
    end_sample: int
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """The current utterance's text so far. Never blank."""

    text: str
    end_sample: int
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A decoder's answer: blank text when there is no speech; when the model began, on the monotonic clock.

    `began_s` is None when no model had to run.
    """

    text: str
    words: tuple[Word, ...] = ()
    began_s: float | None = None


@dataclass(frozen=True, slots=True)
class Finalized:
    """The answer to one Finalize. Blank text means that there is no speech."""

    id: int
    mode: Mode
    text: str
    end_sample: int
    words: tuple[Word, ...]
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What a stream is, with every field filled in."""

    rate_hz: int
    model: str
    language: str
    interim_results: bool
    context_ms: int = 0
    word_times: bool = False
    word_confidence: bool = False

    @property
    def words(self) -> bool:
        """Whether texts come with their words."""
        return self.word_times or self.word_confidence


@dataclass(frozen=True, slots=True)
class Work:
    """How often a model ran and for how long in all."""

    runs: int
    seconds: float


# Waits for the text of a reading that has been asked for.
Pending = Callable[[], Awaitable[Reading]]


class Decoder(Protocol):
    """One stream's audio and what is known of its text."""

    async def push(self, pcm: bytes) -> None:
        """Takes the stream's next samples. Waits while the model is too far behind."""
        ...

    def read(self, end_sample: int, mode: Mode) -> Pending:
        """The utterance's text up to exactly `end_sample`, which has been pushed.

        COMMIT takes effect in this call: the next utterance starts at `end_sample`, also if that has been heard.
        """
        ...

    def interims(self) -> AsyncIterator[Heard]:
        """The current utterance's text as it grows, never one of an utterance that has ended; never ends itself.

        Yields nothing when the stream's configuration asks for no interims.
        """
        ...

    def close(self) -> None:
        """Drops work that nobody waits for. Called once, after the last use."""
        ...


class Recognizer(Protocol):
    """A loaded model, shared by every stream. The first of each choice is the default.

    A language without a region, such as "en", stands for all of its regions. `contexts_ms` is how much audio the model
    can take at a time, empty when there is no choice. `default_slots` is how many streams it
    takes at once when the settings do not say.
    """

    models: Sequence[str]
    languages: Sequence[str]
    rates_hz: Sequence[int]
    contexts_ms: Sequence[int]
    word_times: bool
    word_confidence: bool
    default_slots: int

    @classmethod
    def load(cls, settings: ServerSettings) -> Self:
        """Loads and warms the model. Blocks. Raises ConfigError when that cannot be done."""
        ...

    def attach(self, host: Host) -> None:
        """Registers metrics of its own, and sets `host.lost` should the model be gone for good. Called once."""
        ...

    def decoder(self, config: StreamConfig) -> Decoder:
        """A stream's decoder. Raises NoCapacity when the model is too far behind to take another stream."""
        ...

    def work(self) -> Mapping[str, Work]:
        """The model's runs so far, by what they were for."""
        ...

    def close(self) -> None:
        """Lets go of the model. Blocks until its thread has ended."""
        ...
