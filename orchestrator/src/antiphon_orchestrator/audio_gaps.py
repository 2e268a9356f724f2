"""Keeps the caller's audio in step with the wall clock: fills gaps with silence, bounds what comes late."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import CancelFrame, ClientConnectedFrame, EndFrame, Frame, InputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from .ingress import IngressLag
from .services.frames import AUDIO_LATE_MS, LateAudioFrame

BYTES_PER_SAMPLE = 2
PIECE_S = 0.02
# Of a long gap, filled at once: half a second. Others get their turn before the next ones.
MOST_PIECES = 25


@dataclass(frozen=True, slots=True)
class GapPolicy:
    """Bounds on gaps and bursts in a caller's audio, in seconds.

    Audio that is missing for `patience_s`, beyond the length of the frames that the caller sends, is taken for silence:
    more than what networks usually delay, less than what a listener notices in an answer. Late audio is passed on at
    once up to `burst_s`, and from then at `catch_up` times its own speed; of more than `backlog_s` the oldest goes.
    `late_s` of late audio within `late_s` of each other are a stalled line. A clock slower than ours by `drift` leaves
    no gap.

    A process that runs what is due late, on a machine that is busy, reads audio late too: then the patience is longer
    by `busy_factor` times that, up to `most_patience_s`.
    """

    patience_s: float = 0.3
    burst_s: float = 0.5
    catch_up: float = 4.0
    backlog_s: float = 5.0
    late_s: float = 0.5
    drift: float = 0.02
    busy_factor: float = 10.0
    most_patience_s: float = 1.0


class IngressClock:
    """Compares the audio that has come with the time that has passed. Times are seconds of a monotonic clock."""

    def __init__(self, policy: GapPolicy, now_s: float) -> None:
        self._policy = policy
        self._at_s = now_s
        # Audio that is missing, and silence in its place that may still come as late audio.
        self._missing_s = 0.0
        self._replaced_s = 0.0
        self._in_gap = False
        self._heard_any = False
        self._lengths: deque[float] = deque([PIECE_S], maxlen=8)
        self._gap_at_s = -1e9
        # Part of the missing audio that is attributed to clock drift: it does not count as late when it comes.
        self._forgiven_s = 0.0
        self._late_s = 0.0
        self._late_at_s = -1e9
        # Recent scheduling delay of this process; it decays by half every second.
        self._held_up_s = 0.0

    def _advance(self, now_s: float) -> None:
        passed_s, self._at_s = max(0.0, now_s - self._at_s), now_s
        leak = 0.0 if self._in_gap else min(self._missing_s, self._policy.drift * passed_s)
        self._missing_s += passed_s - leak
        self._forgiven_s = min(self._policy.patience_s, self._forgiven_s + leak)
        self._held_up_s *= 0.5**passed_s

    def arrived(self, length_s: float, now_s: float) -> bool:
        """Take note of audio. Return True if it comes late, in the place of what was filled, as of a stalled line."""
        self._advance(now_s)
        if not self._heard_any:  # a line takes its time to begin, and has not stalled
            self._heard_any, self._replaced_s = True, 0.0
        self._lengths.append(length_s)
        self._in_gap = False
        self._missing_s -= length_s
        if self._missing_s >= 0:
            return False
        early_s, self._missing_s = -self._missing_s, 0.0
        forgiven_s = min(early_s, self._forgiven_s)
        self._forgiven_s -= forgiven_s
        if now_s - self._gap_at_s > self._policy.backlog_s:
            self._replaced_s = 0.0  # the line has been prompt since: nothing comes late any more
        late_s = min(early_s - forgiven_s, self._replaced_s)
        self._replaced_s -= late_s
        if now_s - self._late_at_s > self._policy.late_s:
            self._late_s = 0.0
        if late_s > 0:
            self._late_s, self._late_at_s = self._late_s + late_s, now_s
        return self._late_s >= self._policy.late_s and late_s > 0

    @property
    def _threshold_s(self) -> float:
        if self._in_gap:
            return PIECE_S
        patience_s = self._policy.patience_s + self._policy.busy_factor * self._held_up_s
        return max(self._policy.patience_s, min(patience_s, self._policy.most_patience_s)) + max(self._lengths)

    def held_up(self, seconds: float, now_s: float) -> None:
        """This process ran something `seconds` late."""
        self._advance(now_s)
        self._held_up_s = max(self._held_up_s, seconds)

    def due_in_s(self, now_s: float) -> float:
        """Seconds until silence is due, if no audio comes before; 0 when it is."""
        self._advance(now_s)
        return max(0.0, self._threshold_s - self._missing_s)

    def fill(self, now_s: float) -> int:
        """Return the number of 20 ms pieces of silence to insert now, at most 25, and take them for audio."""
        if self.due_in_s(now_s) > 0:
            return 0
        pieces = min(MOST_PIECES, int(self._missing_s / PIECE_S + 1e-9))
        filled_s = pieces * PIECE_S
        self._missing_s -= filled_s
        self._replaced_s = min(self._policy.backlog_s, self._replaced_s + filled_s)
        self._in_gap, self._gap_at_s = True, now_s
        return pieces


class Backlog:
    """Audio that waits for its turn: bounded, and let out faster than real time but not all at once."""

    def __init__(self, policy: GapPolicy, bytes_per_s: int, now_s: float) -> None:
        self._policy = policy
        self._bytes_per_s = bytes_per_s
        self._waiting = bytearray()
        # Lead of the released audio over `catch_up` times real time.
        self._ahead_s = 0.0
        self._at_s = now_s

    def put(self, audio: bytes) -> float:
        """Add audio. Return the seconds of the oldest that were dropped for it."""
        self._waiting += audio
        excess = len(self._waiting) - round(self._policy.backlog_s * self._bytes_per_s)
        excess -= excess % BYTES_PER_SAMPLE
        if excess <= 0:
            return 0.0
        del self._waiting[:excess]
        return excess / self._bytes_per_s

    def take(self, now_s: float) -> bytes:
        """Remove and return what may be passed on now."""
        self._ahead_s = max(0.0, self._ahead_s - self._policy.catch_up * (now_s - self._at_s))
        self._at_s = now_s
        room = round(max(0.0, self._policy.burst_s - self._ahead_s) * self._bytes_per_s)
        # The rest of a piece never waits.
        size = len(self._waiting) if room >= len(self._waiting) else room - room % BYTES_PER_SAMPLE
        audio = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._ahead_s += size / self._bytes_per_s
        return audio

    @property
    def due_in_s(self) -> float | None:
        """Seconds from the last `take` until a piece more may be passed on, None when nothing waits."""
        if not self._waiting:
            return None
        return max(PIECE_S, self._ahead_s - self._policy.burst_s + PIECE_S) / self._policy.catch_up


class GapFiller(FrameProcessor):
    """Stands right after the transport's input, so that every clock that counts samples runs on.

    A caller who mutes, whose client sends nothing in silence, or whose line stalls is heard as silent. Audio that
    comes late is heard all the same, as later speech; LateAudioFrame tells that the line had stalled.
    """

    def __init__(
        self,
        policy: GapPolicy | None = None,
        *,
        on_filled: Callable[[float], None] = lambda _: None,
        on_dropped: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        """`on_filled` and `on_dropped` get seconds of audio; they must not raise."""
        super().__init__(enable_direct_mode=True, **kwargs)  # nothing waits here, and audio comes often
        self._policy = policy or GapPolicy()
        self._on_filled = on_filled
        self._on_dropped = on_dropped
        self._clock = clock
        self._rate_hz = 16_000
        self._lag = IngressLag()
        self._heard_s = 0.0
        self._ingress = IngressClock(self._policy, clock())
        self._backlog = Backlog(self._policy, self._rate_hz * BYTES_PER_SAMPLE, clock())
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._waits = asyncio.Event()

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        await super().setup(setup)
        self._rate_hz = setup.audio_in_sample_rate

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._stop()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame) and direction is FrameDirection.DOWNSTREAM:
            await self._hear(frame)
            return
        if isinstance(frame, EndFrame | CancelFrame):
            await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, ClientConnectedFrame):
            self._start()

    def _start(self) -> None:
        """Begin to count, unless the connection is only renewed: what it takes to connect at first is no gap."""
        if self._task or self._over:
            return
        now_s = self._clock()
        self._ingress = IngressClock(self._policy, now_s)
        self._backlog = Backlog(self._policy, self._rate_hz * BYTES_PER_SAMPLE, now_s)
        self._task = self.create_task(self._keep_time(), "gaps")

    async def _stop(self) -> None:
        self._over = True
        task, self._task = self._task, None
        if task:
            await self.cancel_task(task)

    async def _hear(self, frame: InputAudioRawFrame) -> None:
        self._start()
        now_s = self._clock()
        length_s = len(frame.audio) / BYTES_PER_SAMPLE / self._rate_hz
        self._heard_s += length_s
        late_ms = self._lag.arrived(self._heard_s, now_s) * 1000
        if self._ingress.arrived(length_s, now_s):
            await self.push_frame(LateAudioFrame())
        dropped_s = self._backlog.put(frame.audio)
        if dropped_s:
            self._on_dropped(dropped_s)
        await self._let_out(now_s, late_ms)
        if self._backlog.due_in_s is not None:
            self._waits.set()

    async def _let_out(self, now_s: float, late_ms: float = 0.0) -> None:
        if audio := self._backlog.take(now_s):
            await self._push_audio(audio, late_ms)

    async def _push_audio(self, audio: bytes, late_ms: float = 0.0) -> None:
        frame = InputAudioRawFrame(audio=audio, sample_rate=self._rate_hz, num_channels=1)
        frame.metadata[AUDIO_LATE_MS] = late_ms
        await self.push_frame(frame)

    async def _keep_time(self) -> None:
        """Lets out what waits, and fills gaps when they are due."""
        while True:
            now_s = self._clock()
            waits_s = self._backlog.due_in_s
            due_s = now_s + (self._ingress.due_in_s(now_s) if waits_s is None else waits_s)
            self._waits.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(due_s - now_s):
                    await self._waits.wait()
                continue  # audio waits, and is due sooner
            now_s = self._clock()
            self._ingress.held_up(now_s - due_s, now_s)
            if waits_s is None:
                await self._fill(now_s)
            else:
                await self._let_out(now_s)

    async def _fill(self, now_s: float) -> None:
        pieces = self._ingress.fill(now_s)
        if not pieces:
            return
        self._on_filled(pieces * PIECE_S)
        self._heard_s += pieces * PIECE_S
        silence = bytes(round(PIECE_S * self._rate_hz) * BYTES_PER_SAMPLE)
        for _ in range(pieces):
            await self._push_audio(silence)
