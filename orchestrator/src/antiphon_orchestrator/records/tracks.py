"""The two sides of a recording, each placed on the recording's clock.

A track keeps its last seconds open: until then, audio that comes late can still be put where it belongs. Positions are
samples since the start of the recording, times are seconds since then.
"""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

RATE_HZ = 24_000
# Audio this much off the clock is left where it is: deviations of that size are scheduling, not gaps.
TOLERANCE = RATE_HZ // 100
BLOCK = RATE_HZ // 100
# Mean square of a block below -50 dBFS, which may be left out without loss.
QUIET = (32_768 * 10 ** (-50 / 20)) ** 2
# A caller's audio may be ahead of the clock by as much, as later speech; then the quietest of it is left out.
MOST_AHEAD = 5 * RATE_HZ
# Audible audio is left out at this share of what arrives, so that a backlog always ends.
CUT_SHARE = 0.1
# A pause of the agent's audio that may be a delay of the event loop, made up for by the chunks after it.
LONGEST_HICCUP = RATE_HZ * 3 // 10
# The agent's audio that a transport takes without pacing it; what exceeds it is dropped.
MOST_QUEUED = 60 * RATE_HZ


class Track:
    """The open end of one side: samples from `base` to `end`, and which runs of them are only padding."""

    def __init__(self) -> None:
        self.base = 0
        self.dropped = 0
        self._length = 0
        self._buffer: Samples = np.zeros(4 * RATE_HZ, np.int16)
        self._gaps: list[tuple[int, int]] = []

    @property
    def end(self) -> int:
        return self.base + self._length

    def take(self, until: int) -> Samples:
        """Remove and return the samples up to a position; silence where nothing has come."""
        count = max(0, until - self.base)
        taken = np.zeros(count, np.int16)
        given = min(count, self._length)
        taken[:given] = self._buffer[:given]
        self._buffer[: self._length - given] = self._buffer[given : self._length].copy()
        self._length -= given
        self.base += count
        self._gaps = [(max(start, self.base), end) for start, end in self._gaps if end > self.base]
        return taken

    def cut(self, position: int) -> None:
        """Discard what lies after a position."""
        self._length = min(self._length, max(0, position - self.base))
        self._gaps = [(start, min(end, self.end)) for start, end in self._gaps if start < self.end]

    def _append(self, samples: Samples) -> None:
        needed = self._length + len(samples)
        if needed > len(self._buffer):
            self._buffer = np.concatenate([self._buffer[: self._length], np.zeros(needed + RATE_HZ, np.int16)])
        self._buffer[self._length : needed] = samples
        self._length = needed

    def _pad(self, until: int) -> None:
        """Append silence up to a position."""
        start = self.end
        self._append(np.zeros(until - start, np.int16))
        self._mark(start)

    def _mark(self, start: int) -> None:
        """Remember that everything from `start` on is padding."""
        if self._gaps and self._gaps[-1][1] == start:
            start = self._gaps.pop()[0]
        self._gaps.append((start, self.end))

    def _remove(self, start: int, count: int) -> None:
        """Take samples out; what follows them moves up."""
        at, rest = start - self.base, self._length - (start - self.base) - count
        self._buffer[at : at + rest] = self._buffer[at + count : at + count + rest].copy()
        self._length -= count
        moved = [(self._moved(one, start, count), self._moved(two, start, count)) for one, two in self._gaps]
        self._gaps = [(one, two) for one, two in moved if two > one]

    @staticmethod
    def _moved(position: int, start: int, count: int) -> int:
        return position if position <= start else max(start, position - count)

    def _refill(self, count: int) -> int:
        """Remove up to `count` samples of padding, the latest first; return how many."""
        left = count
        while left > 0 and self._gaps:
            start, end = self._gaps[-1]
            removed = min(left, end - start)
            self._remove(end - removed, removed)
            left -= removed
        return count - left


class CallerTrack(Track):
    """The caller's side: a chunk ends at the moment it arrives.

    A gap is padded. If the missing audio comes after all, in a burst, it replaces the padding. What no longer fits
    (its place has been taken, the caller's clock runs fast, a client sends more than there is time) is kept as later
    speech, and the pauses after it are shortened until the side is aligned again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._may_cut = 0.0

    def place(self, samples: Samples, now_s: float) -> None:
        start = round(now_s * RATE_HZ) - len(samples)
        if start < 0 and not self.end:
            samples, start = samples[-start:], 0
        ahead = self.end - start
        if ahead < -TOLERANCE:
            self._pad(start)
            ahead = 0
        elif ahead > 0:
            ahead -= self._refill(ahead)
        placed_at = self.end
        self._append(samples)
        if not samples.any():
            self._mark(placed_at)
        self._may_cut = min(BLOCK, self._may_cut + CUT_SHARE * len(samples))
        if ahead > TOLERANCE:
            self._shorten(ahead - self._refill(ahead))

    def _shorten(self, ahead: int) -> None:
        """Leave out quiet blocks, the latest first; audible ones only at a slow rate, or when far ahead."""
        count = self._length // BLOCK
        blocks = self._buffer[self._length - count * BLOCK : self._length].reshape(count, BLOCK)
        power = np.square(blocks, dtype=np.float32).mean(axis=1)
        chosen = list(np.flatnonzero(power < QUIET)[::-1][: ahead // BLOCK])
        ahead -= len(chosen) * BLOCK
        excess = -(-max(0, ahead - MOST_AHEAD) // BLOCK)
        if ahead > TOLERANCE and not excess and self._may_cut >= BLOCK:
            self._may_cut, excess = 0.0, 1
        audible = [block for block in np.argsort(power) if power[block] >= QUIET][:excess]
        self.dropped += len(audible) * BLOCK
        offset = self.end - count * BLOCK
        for block in sorted([*chosen, *audible], reverse=True):
            self._remove(offset + int(block) * BLOCK, BLOCK)


class AgentTrack(Track):
    """The agent's side: a chunk begins at the moment the transport has sent it, or when the one before it ends."""

    def place(self, samples: Samples, now_s: float) -> None:
        start = round(now_s * RATE_HZ)
        behind = start - self.end
        if behind > TOLERANCE:
            if behind > LONGEST_HICCUP:
                self._gaps.clear()
            self._pad(start)
            if behind > LONGEST_HICCUP:
                self._gaps.clear()
        elif behind < 0:
            self._refill(-behind)
        room = max(0, start + MOST_QUEUED - self.end)
        self.dropped += max(0, len(samples) - room)
        self._append(samples[:room])

    def interrupt(self, now_s: float) -> None:
        """Discard what was sent ahead and is not played any more; the chunk being played is."""
        self.cut(round(now_s * RATE_HZ) + 2 * BLOCK)
