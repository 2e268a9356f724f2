"""A stream as the engine has it, and a flush of it: which steps are due, and on which audio."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.errors import BackendFailed

from ..tape import Tape
from .context import RATE_HZ, Context
from .row import Row
from .tokens import Token


class Rank(IntEnum):
    """How urgent a flush is. Lower goes first."""

    COMMIT = 0
    SPECULATE = 1


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of a stream's results; called on the event loop, in the order of the steps."""

    on_step: Callable[[list[Token]], None]
    on_flush: Callable[["Flush"], None]
    on_failure: Callable[[BackendFailed], None]


@dataclass(eq=False, slots=True)
class Stream:
    """A listener's audio, and how far it has been decoded. Guarded by the engine's lock.

    Positions in a Context's arithmetic count from `origin`, the sample at which the model's state was last fresh.
    """

    slot: int
    context: Context
    confidence: bool
    listener: Listener
    tape: Tape
    origin: int = 0
    steps: int = 0
    silent_frames: int = 0
    # Flushes that read this stream's state: it must not move under them.
    readers: int = 0
    # A batch that is not done has its next step.
    stepping: bool = False

    @property
    def decoded(self) -> int:
        """Samples that the steps so far have looked at."""
        return self.origin + self.context.samples_after(self.steps)

    @property
    def due(self) -> int:
        """Steps whose audio is here, the one that is being taken included."""
        return self.context.steps_within(self.tape.end - self.origin) - self.steps

    @property
    def first_frame(self) -> int:
        """The absolute number of the first encoder frame after `origin`."""
        return self.origin // self.context.frame_samples

    def row(self) -> Row:
        """The next step."""
        frame = self.context.frames_after(self.steps)
        window = self.window(self.steps, self.tape.end)
        return Row(self.slot, self.slot, frame, self.steps, frame, self.steps, window)

    def window(self, step: int, end: int) -> NDArray[np.int16]:
        """The audio of a step, silent before the origin and from the sample `end` on."""
        start, stop = (self.origin + at for at in self.context.window(step))
        window = np.zeros(stop - start, np.int16)
        first, last = max(start, self.origin), min(stop, end)
        if first < last:
            window[first - start : last - start] = self.tape.held(first, last)
        return window

    def moved(self, tokens: list[Token]) -> list[Token]:
        """Notes a step that emitted `tokens`; gives them with the frames counted from the stream's first."""
        before = self.context.frames_after(self.steps)
        self.steps += 1
        self.stepping = False
        frames = self.context.frames_after(self.steps)
        self.silent_frames = frames - 1 - tokens[-1].frame if tokens else self.silent_frames + frames - before
        return absolute(tokens, self.first_frame)

    def restart(self) -> None:
        """Lets the model begin afresh, at a frame's edge a second ago: a word may have begun that has no token yet."""
        frame = self.context.frame_samples
        self.origin = max(self.origin, self.decoded - RATE_HZ) // frame * frame
        self.steps = self.silent_frames = 0


@dataclass(eq=False, slots=True)
class Flush:
    """A copy of a stream that hears silence from the sample `end` on, until all before it is decoded.

    `tokens` are what the copy emitted after the stream's first `base_frame` frames. `reached` is False when the stream
    no longer has the state before `end`; then there are none. `done` is set on the engine's thread, `delivered` on the
    listener's loop, once all earlier steps have been told.
    """

    stream: Stream
    end: int
    rank: Rank
    asked_s: float
    due_s: float
    base: int = 0
    steps: int = 0
    until: int = 0
    # The stream's own, when the copy's way was worked out: it may begin afresh after that.
    first_frame: int = 0
    slot: int | None = None
    began_s: float | None = None
    tokens: list[Token] = field(default_factory=list)
    reached: bool = True
    done: bool = False
    delivered: bool = False

    def aim(self, rewind_frames: int) -> None:
        """Works out from which step on the copy goes its own way, how far, and whether the stream can go back there."""
        stream = self.stream
        context, end = stream.context, max(0, self.end - stream.origin)
        self.first_frame = stream.first_frame
        self.base = self.steps = context.steps_within(end)
        self.until = context.steps_to_flush(end)
        back = context.frames_after(stream.steps) - context.frames_after(self.base)
        audio_from = stream.origin + max(0, context.window(self.base)[0])
        self.reached = stream.origin <= self.end and back <= rewind_frames and stream.tape.start <= audio_from

    @property
    def base_frame(self) -> int:
        """The first frame that the copy put out itself, from the stream's first."""
        return self.first_frame + self.stream.context.frames_after(self.base)

    @property
    def last_frame(self) -> int:
        return self.first_frame + self.stream.context.frames_after(self.until) - 1

    @property
    def end_frame(self) -> int:
        """The first frame whose audio begins at `end` or later."""
        return -(-self.end // self.stream.context.frame_samples)

    def row(self) -> Row:
        """The copy's next step: it reads what it shares with its stream from that one's slot."""
        assert self.slot is not None
        context = self.stream.context
        return Row(
            slot=self.slot,
            parent=self.stream.slot,
            own_from=context.frames_after(self.base),
            own_from_step=self.base,
            frame=context.frames_after(self.steps),
            step=self.steps,
            window=self.stream.window(self.steps, self.end),
        )

    def moved(self, tokens: list[Token], now_s: float) -> None:
        self.steps += 1
        self.due_s = now_s
        self.tokens += absolute(tokens, self.first_frame)


def absolute(tokens: list[Token], first_frame: int) -> list[Token]:
    return [Token(token.id, token.frame + first_frame, token.confidence) for token in tokens] if first_frame else tokens


def tape_seconds(rewind_frames: int, most_backlog_s: float, contexts: tuple[Context, ...]) -> float:
    """How much audio a stream keeps: what it may go back, a step's window, and what may wait."""
    longest = max(contexts, key=lambda context: context.ms)
    start, stop = longest.window(1)
    return (rewind_frames * longest.frame_samples + 2 * (stop - start)) / RATE_HZ + most_backlog_s
