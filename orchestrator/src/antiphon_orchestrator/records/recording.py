"""One call's recording: audio goes in on the event loop, a thread of its own writes the file."""

import asyncio
import errno
import logging
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from enum import Enum
from pathlib import Path
from threading import Event, Thread

from .folder import create_file
from .formats import AudioFile
from .options import Reason, RecordingOptions
from .stereo import HOLD_S, LEAD_IN_S, Chunk, StereoRecording

log = logging.getLogger(__name__)

REASON_OF: dict[int, Reason] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EFBIG: "full",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "denied",
}

WRITE_EVERY_S = 0.25
# Waiting to be written; both sides make 5 MiB a minute. Beyond it audio is left out, and the clock keeps its place.
MOST_PENDING_BYTES = 4 * 1024 * 1024
INTERRUPTION_BYTES = 64
FINISH_WITHIN_S = 5.0


class _Side(Enum):
    CALLER = "caller"
    AGENT = "agent"
    INTERRUPTION = "interruption"


class Recording:
    """The recording of one call. An error ends it, and nothing else; `failure` says why.

    Every method but `finish` returns at once. After `start`, `finish` must be called.
    """

    def __init__(self, name: str, options: RecordingOptions) -> None:
        self._name = name
        self._options = options
        self._pending: deque[tuple[_Side, Chunk]] = deque()
        # One writer each, so no lock: the event loop counts the bytes queued, the thread those taken.
        self._queued_bytes = 0
        self._taken_bytes = 0
        self._dropped_s = 0.0
        self._started_at_s = 0.0
        self._ended_at_s: float | None = None
        self._wake = Event()
        self._thread: Thread | None = None
        self.failure: Reason | None = None
        self.path: Path | None = None

    @property
    def pending_bytes(self) -> int:
        return self._queued_bytes - self._taken_bytes

    def start(self) -> None:
        """Begin now; a second time, and after `finish`, it does nothing."""
        if self._thread or self.failure or self._ended_at_s is not None:
            return
        self._started_at_s = self._options.clock() - LEAD_IN_S
        # The call's context, for the log. A disk that never answers must not keep the process from ending.
        run = copy_context().run
        thread = Thread(target=run, args=(self._run,), name=f"recording {self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process has as many threads as it may have
            self._fail("internal", error)
            return
        self._thread = thread

    def add_caller(self, pcm: bytes, rate_hz: int, channels: int = 1) -> None:
        """Record audio of the caller that ends now."""
        self._put(_Side.CALLER, pcm, rate_hz, channels)

    def add_agent(self, pcm: bytes, rate_hz: int, channels: int = 1) -> None:
        """Record audio of the agent that begins now, or when what was added before it ends."""
        self._put(_Side.AGENT, pcm, rate_hz, channels)

    def interrupt_agent(self) -> None:
        """Discard what was added ahead of time: it is not played any more."""
        self._put(_Side.INTERRUPTION, b"", 1, 1)

    async def finish(self, within_s: float = FINISH_WITHIN_S) -> None:
        """Complete the file, and wait for that as long as `within_s`."""
        if self._ended_at_s is None:
            self._ended_at_s = self._now_s()
        if self._thread is None:
            return
        self._wake.set()
        await asyncio.to_thread(self._thread.join, within_s)
        if self._thread.is_alive():
            log.error("session %s: its recording was not complete within %g s", self._name, within_s)
            self._options.on_error("unfinished")

    def _now_s(self) -> float:
        return self._options.clock() - self._started_at_s

    def _put(self, side: _Side, pcm: bytes, rate_hz: int, channels: int) -> None:
        if self._thread is None or self.failure or self._ended_at_s is not None:
            return
        if self.pending_bytes + len(pcm) > MOST_PENDING_BYTES:
            if not self._dropped_s:
                log.warning("session %s: the disk is too slow for its recording: audio is left out", self._name)
                self._options.on_error("behind")
            self._dropped_s += len(pcm) / (2 * channels * rate_hz)
            return
        self._queued_bytes += len(pcm) + INTERRUPTION_BYTES
        self._pending.append((side, Chunk(pcm, rate_hz, channels, self._now_s())))
        if self.pending_bytes > MOST_PENDING_BYTES // 2:
            self._wake.set()

    def _run(self) -> None:
        """Write until the call has ended or an error comes."""
        try:
            self.path, file = create_file(self._options.folder, self._name, self._options.format)
            self._write(file)
        except OSError as error:
            self._fail(REASON_OF.get(error.errno or 0, "io"), error)
        except Exception as error:
            self._fail("internal", error)

    def _write(self, file: AudioFile) -> None:
        recording = StereoRecording(file)
        try:
            recording.begin()
            while self._ended_at_s is None:
                self._wake.wait(WRITE_EVERY_S)
                self._wake.clear()
                now_s = self._now_s()
                self._drain(recording)
                recording.advance(now_s)
            self._drain(recording)
            recording.finish(self._ended_at_s)
        except BaseException:
            with suppress(Exception):
                file.close()
            raise
        file.close()
        left_out_s = self._dropped_s + recording.dropped_s
        log.info(
            "session %s: recorded %.1f s in %s; %.1f s left out", self._name, recording.written_s, self.path, left_out_s
        )

    def _drain(self, recording: StereoRecording) -> None:
        """Place what is pending, and write on the way, so that a backlog is never held a second time."""
        add = {_Side.CALLER: recording.add_caller, _Side.AGENT: recording.add_agent}
        while self._pending:
            side, chunk = self._pending.popleft()
            if side is _Side.INTERRUPTION:
                recording.interrupt_agent(chunk.at_s)
            else:
                add[side](chunk)
            if chunk.at_s > recording.written_s + 2 * HOLD_S:
                recording.advance(chunk.at_s)
            self._taken_bytes += len(chunk.pcm) + INTERRUPTION_BYTES

    def _fail(self, reason: Reason, error: Exception) -> None:
        self.failure = reason
        self._pending.clear()
        log.error("session %s: its recording ends early (%s): %r", self._name, reason, error)
        self._options.on_error(reason)
