"""The model's one thread: every few milliseconds it steps all streams that have a chunk, the most urgent first."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.errors import BackendFailed, NoCapacity, Unavailable
from antiphon_runtime.stepping import Delivery, RealTimeFactor, Stepper

from .. import Work
from ..tape import Tape
from .context import RATE_HZ, Context
from .metrics import EngineMetrics
from .queue import Batch, Queue
from .row import Row
from .stream import Flush, Listener, Rank, Stream, tape_seconds
from .tokens import Token

if TYPE_CHECKING:
    from .pool import Pool

log = logging.getLogger(__name__)


class Model(Protocol):
    """What steps streams; see StreamingModel."""

    contexts: tuple[Context, ...]

    def text(self, ids: Sequence[int]) -> str: ...

    def begins_word(self, token: int) -> bool: ...

    def step(
        self, pool: "Pool", context: Context, rows: list[Row], *, confidence: bool = False
    ) -> list[list[Token]]: ...

    def is_lost(self, error: Exception) -> bool:
        """Whether the device is gone for good."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine takes on.

    `gather_s` is how long a chunk waits for others to share its step. A stream's audio is taken until `most_backlog_s`
    of it wait. New streams are refused while a chunk has waited for `most_wait_s`. After `restart_after_s` without a
    token the model begins afresh; 0: never.
    """

    max_batch: int = 64
    flushes: int = 32
    gather_s: float = 0.005
    most_backlog_s: float = 2.0
    most_wait_s: float = 0.1
    restart_after_s: float = 60.0


class Engine(Stepper):
    """Streams over one model on one device.

    All but the thread's own part is called on one event loop; nothing waits for the device. The pool has a slot for
    each stream and `limits.flushes` for copies.
    """

    def __init__(
        self,
        model: Model,
        pool: "Pool",
        limits: Limits,
        *,
        device: str = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.model = model
        self._device = device
        self._pool = pool
        self._limits = limits
        self._clock = clock
        self.slots = pool.slots - limits.flushes
        self._free = list(range(self.slots))[::-1]
        copies = list(range(self.slots, self.slots + limits.flushes))
        self._queue = Queue(copies, limits.max_batch, limits.gather_s, pool.rewind)
        keep_s = tape_seconds(pool.rewind, limits.most_backlog_s + 1, model.contexts)
        self._tape_samples = int(keep_s * RATE_HZ)
        self._streams: set[Stream] = set()
        self._work = {"live": Work(0, 0.0), "flush": Work(0, 0.0)}
        self._factor = RealTimeFactor()
        self._metrics: EngineMetrics | None = None

    @property
    def free_slots(self) -> int:
        return len(self._free)

    def start(self, warm: "Callable[[Model, Pool], None]") -> None:
        """Starts the thread, has it `warm` the model, and returns when it has. Raises what that raised."""
        self._start("asr engine", lambda: warm(self.model, self._pool), self._work_on)

    def attach(self, metrics: EngineMetrics, on_lost: Callable[[], None]) -> None:
        """Tells where to count, and whom to tell on this event loop when the device is gone."""
        self._tell_on_this_loop(on_lost)
        self._metrics = metrics

    def open(self, context: Context, listener: Listener, *, confidence: bool = False) -> Stream:
        """A stream with a slot. Raises NoCapacity when there is none, or when the engine is too far behind."""
        with self._lock:
            if self._lost:
                raise Unavailable("the recognizer's device is lost", reason="DEVICE_LOST")
            if not self._free:
                raise NoCapacity(f"all {self.slots} slots are taken", reason="NO_SLOT")
            if (wait_s := self._queue.longest_wait(self._clock())) > self._limits.most_wait_s:
                raise NoCapacity(f"audio waits for {wait_s * 1000:.0f} ms: no more streams now", reason="BACKLOG")
            self._tell_on_this_loop()
            stream = Stream(self._free.pop(), context, confidence, listener, Tape(self._tape_samples))
            self._streams.add(stream)
            return stream

    def release(self, stream: Stream) -> None:
        """Ends a stream and frees its slot at once: a step that still runs for it is nobody's."""
        with self._lock:
            if stream in self._streams:
                self._drop(stream)

    def push(self, stream: Stream, samples: NDArray[np.int16]) -> None:
        with self._lock:
            stream.tape.push(samples)
            if stream in self._streams and self._queue.heard(stream, self._clock()):
                self._lock.notify()

    def behind(self, stream: Stream) -> bool:
        """Whether so much of the stream's audio waits that no more of it is to be pushed."""
        return stream.tape.end - stream.decoded > self._most_waiting(stream)

    def flush(self, stream: Stream, end: int, rank: Rank) -> Flush:
        """Asks what was said before the sample `end`, which has been pushed. The listener is told."""
        with self._lock:
            now_s = self._clock()
            flush = Flush(stream, end, rank, now_s, now_s)
            if stream in self._streams:
                self._queue.asked(flush)
                self._lock.notify()
            return flush

    def hurry(self, flush: Flush, rank: Rank) -> None:
        with self._lock:
            flush.rank = min(flush.rank, rank)

    def work(self) -> Mapping[str, Work]:
        """Steps of the model by what they were for."""
        return dict(self._work)

    def backlog_s(self) -> float:
        """Audio that waits for a step, over all streams."""
        with self._lock:
            return sum(stream.due * stream.context.ms / 1000 for stream in self._streams)

    def _most_waiting(self, stream: Stream) -> float:
        return (self._limits.most_backlog_s + stream.context.ms / 1000) * RATE_HZ

    def _work_on(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._deliver(self._run(batch))
        except Exception:
            log.exception("the recognizer's engine has failed")
            self._deliver(self._lose())

    def _next(self) -> Batch | None:
        """The next batch; None at the end."""
        with self._lock:
            while not self._closing:
                batch, wait_s = self._queue.pick(self._clock())
                if batch:
                    return batch
                self._lock.wait(wait_s)
            return None

    def _run(self, batch: Batch) -> list[Delivery]:
        if not batch.rows:  # flushes that cannot be had: their listeners hear it in the order of the steps
            return [_told(flush) for flush in batch.members if isinstance(flush, Flush)]
        began_s = self._clock()
        for member in batch.members:
            if isinstance(member, Flush) and member.began_s is None:
                member.began_s = began_s
        try:
            emitted = self.model.step(self._pool, batch.context, batch.rows, confidence=batch.confidence)
        except Exception as error:
            if self.model.is_lost(error):
                raise
            log.warning("a step of %d streams failed", len(batch.rows), exc_info=error)
            return self._apart(batch, error)
        self._count(batch, began_s, self._clock())
        with self._lock:
            return [
                delivery
                for member, tokens in zip(batch.members, emitted, strict=True)
                if (delivery := self._moved(member, tokens))
            ]

    def _apart(self, batch: Batch, error: Exception) -> list[Delivery]:
        """Runs the batch's members one by one, so that those whose step fails are alone in it."""
        if len(batch.rows) > 1:
            return [delivery for single in batch.singles() for delivery in self._run(single)]
        member = batch.members[0]
        stream = member.stream if isinstance(member, Flush) else member
        with self._lock:
            return [self._fail(stream, error)] if stream in self._streams else []

    def _moved(self, member: "Stream | Flush", tokens: list[Token]) -> Delivery | None:
        now_s = self._clock()
        if isinstance(member, Flush):
            member.moved(tokens, now_s)
            return _told(member) if self._queue.flushed(member, now_s) else None
        heard = member.moved(tokens)
        if 0 < self._limits.restart_after_s <= member.silent_frames * member.context.frame_samples / RATE_HZ:
            member.restart()
        if member not in self._streams:
            return None
        self._queue.stepped(member, now_s)
        return lambda: member.listener.on_step(heard)

    def _drop(self, stream: Stream) -> None:
        self._streams.remove(stream)
        self._queue.forget(stream)
        self._free.append(stream.slot)

    def _fail(self, stream: Stream, error: Exception) -> Delivery:
        self._drop(stream)
        if self._metrics:
            self._metrics.failed.inc()
        failure = BackendFailed(f"the model failed on this stream: {type(error).__name__}")
        return lambda: stream.listener.on_failure(failure)

    def _lose(self) -> list[Delivery]:
        """Every stream fails, no other is taken, and the process is told that its model is gone."""
        with self._lock:
            self._lost = True
            failed = [self._fail(stream, RuntimeError("device lost")) for stream in list(self._streams)]
        return [*failed, self._on_lost]

    def _count(self, batch: Batch, began_s: float, ended_s: float) -> None:
        seconds, kind = ended_s - began_s, batch.kind
        before = self._work[kind]
        self._work[kind] = Work(before.runs + 1, before.seconds + seconds)
        audio_s = len(batch.rows) * batch.context.ms / 1000 if kind == "live" else 0.0
        factor = self._factor.add(ended_s, seconds, audio_s)
        if self._metrics:
            labels = (str(batch.context.ms), kind)
            self._metrics.step_seconds.labels(*labels).observe(seconds)
            self._metrics.batch_size.labels(*labels).observe(len(batch.rows))
            self._metrics.queue_wait.labels(kind).observe(max(0.0, began_s - batch.since_s))
            self._metrics.real_time_factor.labels(self._device).set(factor)


def _told(flush: Flush) -> Delivery:
    flush.done = True
    return lambda: flush.stream.listener.on_flush(flush)
