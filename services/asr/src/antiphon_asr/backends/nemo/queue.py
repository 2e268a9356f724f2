"""What is due, and in which order: finalizes before live steps, and what fits into one batch together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .context import Context
from .row import Row
from .stream import Flush, Stream

# A live chunk that has waited for so many of its own lengths goes first: finalizes cannot hold up the others for ever.
OVERDUE_CHUNKS = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Streams or flushes of one shape, with their rows; `since_s` is when the first of them was due.

    Without rows it is of flushes that cannot be had any more.
    """

    context: Context
    confidence: bool
    members: Sequence[Stream | Flush]
    rows: list[Row]
    since_s: float

    @property
    def kind(self) -> str:
        return "flush" if isinstance(self.members[0], Flush) else "live"

    def singles(self) -> Iterator["Batch"]:
        """A batch for each member."""
        for member, row in zip(self.members, self.rows, strict=True):
            yield Batch(self.context, self.confidence, [member], [row], self.since_s)


class Queue:
    """Guarded by the engine's lock. `copies` are the slots that flushes may take."""

    def __init__(self, copies: list[int], max_batch: int, gather_s: float, rewind_frames: int) -> None:
        self._copies = copies
        self._max_batch = max_batch
        self._gather_s = gather_s
        self._rewind_frames = rewind_frames
        # Streams with a chunk, the longest waiting first.
        self._due: dict[Stream, float] = {}
        self._flushes: list[Flush] = []
        self._last_was_overdue = False

    def heard(self, stream: Stream, now_s: float) -> bool:
        """Notes new audio; says whether that made a chunk."""
        if stream.stepping or stream in self._due or not stream.due:
            return False
        self._due[stream] = now_s
        return True

    def stepped(self, stream: Stream, now_s: float) -> None:
        """Notes that the stream has taken a step; what is left waits behind the others."""
        if stream.due:
            self._due[stream] = now_s

    def asked(self, flush: Flush) -> None:
        self._flushes.append(flush)

    def flushed(self, flush: Flush, now_s: float) -> bool:
        """Notes a flush's step; says whether it was the last."""
        if flush not in self._flushes or flush.steps < flush.until:
            return False
        self._end(flush)
        self.heard(flush.stream, now_s)
        return True

    def forget(self, stream: Stream) -> None:
        self._due.pop(stream, None)
        for flush in [flush for flush in self._flushes if flush.stream is stream]:
            self._end(flush)

    def longest_wait(self, now_s: float) -> float:
        """How long the longest waiting chunk has been here."""
        return now_s - next(iter(self._due.values()), now_s)

    def pick(self, now_s: float) -> tuple[Batch | None, float | None]:
        """The next batch, or None and how long to wait for more; None: until something happens."""
        if unreached := self._begin():
            return Batch(unreached[0].stream.context, False, unreached, [], now_s), None
        live, since_s = self._live(now_s)
        waited_s = now_s - since_s
        urgent, due_s = self._urgent()
        # In turn with finalizes, or these would wait for all that is overdue.
        overdue = bool(live) and waited_s > OVERDUE_CHUNKS * live[0].context.ms / 1000
        self._last_was_overdue = overdue and not (urgent and self._last_was_overdue)
        if self._last_was_overdue:
            return self._batch(live, since_s), None
        if urgent:
            return self._batch(urgent, due_s), None
        if not live:
            return None, None
        if waited_s < self._gather_s and len(live) < self._max_batch:
            return None, self._gather_s - waited_s
        return self._batch(live, since_s), None

    def _begin(self) -> list[Flush]:
        """Gives waiting flushes a slot each, as far as there are, once their stream has come far enough.

        Gives back those that come too late: their stream cannot go back so far.
        """
        self._flushes.sort(key=lambda flush: (flush.rank, flush.asked_s))
        unreached = []
        for flush in list(self._flushes):
            if flush.slot is not None:
                continue
            flush.aim(self._rewind_frames)
            if not flush.reached:
                self._flushes.remove(flush)
                unreached.append(flush)
            elif flush.base <= flush.stream.steps and self._copies:
                flush.slot = self._copies.pop()
                flush.stream.readers += 1
        return unreached

    def _urgent(self) -> tuple[Sequence[Stream | Flush], float]:
        """What the most urgent flush needs next, with those that fit beside it, and since when.

        While its stream has not come far enough, that is the stream's own step.
        """
        for flush in self._flushes:
            if flush.slot is not None:
                begun = [other for other in self._flushes if other.slot is not None]
                return _fitting(flush, begun), flush.due_s
            if _waits_for_its_stream(flush):
                streams = dict.fromkeys(other.stream for other in self._flushes if _waits_for_its_stream(other))
                return _fitting(flush.stream, list(streams)), flush.due_s
        return [], 0.0

    def _live(self, now_s: float) -> tuple[list[Stream], float]:
        """The longest waiting stream that may move, with those that fit beside it, and since when it waits."""
        free = [stream for stream in self._due if not stream.readers]
        return (_fitting(free[0], free), self._due[free[0]]) if free else ([], now_s)

    def _batch(self, members: Sequence[Stream | Flush], since_s: float) -> Batch:
        members = members[: self._max_batch]
        for member in members:
            if isinstance(member, Stream):
                self._due.pop(member, None)
                member.stepping = True
        stream = _stream(members[0])
        return Batch(stream.context, stream.confidence, members, [member.row() for member in members], since_s)

    def _end(self, flush: Flush) -> None:
        self._flushes.remove(flush)
        if flush.slot is not None:
            self._copies.append(flush.slot)
            flush.stream.readers -= 1


def _waits_for_its_stream(flush: Flush) -> bool:
    return flush.slot is None and flush.stream.steps < flush.base and not flush.stream.readers


def _stream(member: Stream | Flush) -> Stream:
    return member.stream if isinstance(member, Flush) else member


M = TypeVar("M", Stream, Flush)


def _fitting(first: M, members: list[M]) -> list[M]:
    """Those that can share a batch with `first`: of its context, at their first step or not as it, confident as it."""
    shape = _shape(first)
    return [member for member in members if _shape(member) == shape]


def _shape(member: Stream | Flush) -> tuple[Context, bool, bool]:
    stream = _stream(member)
    return stream.context, member.steps == 0, stream.confidence
