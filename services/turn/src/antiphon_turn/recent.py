"""The last seconds of a stream, by position."""

BYTES_PER_SAMPLE = 2


class Recent:
    """16-bit samples in order, of which at least the last `keep` stay, and not many more."""

    def __init__(self, keep: int) -> None:
        self._keep_bytes = keep * BYTES_PER_SAMPLE
        self._kept = bytearray()
        self.end = 0

    def write(self, pcm: memoryview) -> None:
        self._kept += pcm
        self.end += len(pcm) // BYTES_PER_SAMPLE
        if len(self._kept) > self._keep_bytes * 9 // 8:  # seldom, since it moves what stays
            del self._kept[: -self._keep_bytes]

    def between(self, start: int, end: int) -> bytes:
        """The samples from `start` up to `end`, less those that are no longer kept."""
        first = self.end - len(self._kept) // BYTES_PER_SAMPLE
        return bytes(self._kept[max(start - first, 0) * BYTES_PER_SAMPLE : max(end - first, 0) * BYTES_PER_SAMPLE])
