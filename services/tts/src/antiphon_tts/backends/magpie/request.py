"""One generation as the engine has it, and what its listener is told."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from antiphon_runtime.errors import ServiceError

from .. import Mode
from .prompt import Prompt

Samples = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Sound:
    """The next samples of a generation, at the model's rate.

    `attended` is the text token that each of its frames so far says, from the generation's first to this sound's last.
    `began_s` is the monotonic second at which the model began on the generation. `last`: it has ended.
    """

    samples: Samples
    attended: tuple[int, ...]
    began_s: float
    last: bool


class Listener(Protocol):
    """Called on the engine's event loop, in order; after a failure or the last sound no more."""

    def on_sound(self, sound: Sound) -> None: ...

    def on_failure(self, error: ServiceError) -> None: ...


@dataclass(slots=True, eq=False)
class Request:
    """A prompt, and how far it has come. `deadline_s`: when its listener runs out of audio, 0 for at once."""

    prompt: Prompt
    mode: Mode
    deadline_s: float
    listener: Listener
    slot: int = -1
    began_s: float = 0.0
    steps: int = 0
    frames: int = 0
    ended: bool = False
    # Frames made sound, and the second from which they are taken to be heard.
    heard: int = 0
    heard_from_s: float = 0.0
    # What of that is silence that is not passed on.
    silent_s: float = 0.0
    attended: list[int] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """Whether somebody waits in silence for its first sound."""
        return not self.heard and not self.deadline_s

    def lead_s(self, now_s: float, frame_s: float, *, decoded: bool = True) -> float:
        """How long its listener has audio for; below 0 they have run out. `decoded`: with all that only needs sound."""
        if not self.heard:
            return self.deadline_s - now_s
        frames = self.frames if decoded else self.heard
        return self.heard_from_s + frames * frame_s - self.silent_s - now_s

    def stepped(self, attended: int, speech: int, per_step: int, most_steps: int) -> None:
        """Takes in what a step has said: the token attended to, and how many of its frames are speech."""
        self.steps += 1
        wanted = self.prompt.frames
        speech = min(speech, wanted - self.frames) if wanted else speech
        self.frames += speech
        self.attended += [attended] * speech
        self.ended = speech < per_step or self.frames == wanted or self.steps == most_steps
