"""The agent's voice on its last stretch: it can be paused there, and tells how far it has got."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import FilterControlFrame

BYTES_PER_SAMPLE = 2


class Playout(BaseAudioFilter):
    """An output transport's `audio_out_filter`, which it asks for every chunk before it writes it.

    While paused, the transport waits here with the chunk in its hand, and everything behind it stays in the queue.
    The same while the line is lost, as when a peer connection is made anew. `begin`, `queued` and `end` are told by who
    hands replies to the transport. A transport that cannot write in time does not catch up: by how much it falls behind
    counts as a pause. `now_ns` is the clock.
    """

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._rate_hz = 24_000
        self._playing = asyncio.Event()
        self._playing.set()
        self._stopped = asyncio.Event()
        self._since_ns = 0
        self._paused_ns = 0
        # What is still in the transport's queue belongs to a reply that is over.
        self._dropping = False
        self._left_bytes = 0
        self._ended = True
        self._said: list[str] = []
        self._keeps_floor = False
        self._interrupted = False
        self._line_lost = False
        # When the next chunk is due, None when there is nothing before it; and how long the last one was.
        self._due_ns: int | None = None
        self._chunk_bytes = 0

    async def start(self, sample_rate: int) -> None:
        self._rate_hz = sample_rate

    async def stop(self) -> None:
        self.resume()

    async def process_frame(self, frame: FilterControlFrame) -> None:
        """Takes no orders by frames: they would wait behind the audio."""

    async def filter(self, audio: bytes) -> bytes:
        """The chunk, once it may be heard; b"", which the transport skips, when its reply was dropped."""
        await self._playing.wait()
        self._left_bytes = max(0, self._left_bytes - len(audio))
        if self._dropping:
            return b""
        self._keep_time(audio)
        return audio

    def _keep_time(self, audio: bytes) -> None:
        now_ns = self._now_ns()
        due_ns = now_ns if self._due_ns is None else self._due_ns
        self._paused_ns += max(0, now_ns - due_ns)
        self._chunk_bytes = len(audio)
        self._due_ns = max(now_ns, due_ns) + len(audio) * 1_000_000_000 // (BYTES_PER_SAMPLE * self._rate_hz)

    @property
    def paused(self) -> bool:
        return not self._playing.is_set()

    @property
    def paused_ns(self) -> int:
        """For how long this voice has been paused, or has fallen behind, all in all."""
        return self._paused_ns + (self._now_ns() - self._since_ns if self.paused else 0)

    @property
    def said(self) -> str:
        """Part of the reply that has been heard."""
        return " ".join(self._said)

    @property
    def left_ms(self) -> float | None:
        """Remaining audio of the reply in ms, None while it is being generated."""
        return self._left_bytes * 1000 / (BYTES_PER_SAMPLE * self._rate_hz) if self._ended else None

    def keep_floor(self) -> None:
        """From now on nothing pauses or drops this voice: its call's last words must be heard."""
        self._keeps_floor = True
        self.resume()

    def pause(self) -> None:
        if not self._keeps_floor:
            self._interrupted = True
            self._stop()

    def resume(self) -> None:
        self._interrupted = False
        self._go_on()

    def line_lost(self) -> None:
        """Nothing can be sent for now."""
        self._line_lost = True
        self._stop()

    def line_restored(self) -> None:
        self._line_lost = False
        self._go_on()

    def _stop(self) -> None:
        if not self.paused:
            self._since_ns = self._now_ns()
            self._playing.clear()
            self._stopped.set()

    def _go_on(self) -> None:
        if self.paused and not (self._interrupted or self._line_lost):
            if self._due_ns is not None:
                self._due_ns += self._now_ns() - self._since_ns
            self._paused_ns = self.paused_ns
            self._stopped.clear()
            self._playing.set()

    def drop(self) -> None:
        """Nothing more of the reply is heard."""
        if self._keeps_floor:
            return
        self._dropping, self._left_bytes, self._ended = True, 0, True
        self.resume()

    def begin(self) -> None:
        """A new reply comes."""
        self._dropping, self._ended = False, False
        self._said.clear()
        self._due_ns = None

    def queued(self, audio: bytes) -> None:
        if self._left_bytes < self._chunk_bytes:
            self._due_ns = None  # the transport had no whole chunk: a gap, whose words come later by themselves
        self._left_bytes += len(audio)

    def end(self) -> None:
        """All of the reply is queued."""
        self._ended = True

    def heard(self, word: str) -> None:
        self._said.append(word)

    async def wait(self, due_ns: int, paused_ns: int) -> None:
        """Until `due_ns` of `time.monotonic_ns`, and longer by what our `paused_ns` has grown beyond the given one."""
        while True:
            await self._playing.wait()
            left_ns = due_ns + self._paused_ns - paused_ns - self._now_ns()
            if left_ns <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_ns / 1e9):
                    await self._stopped.wait()
