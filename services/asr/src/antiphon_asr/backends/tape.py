"""The last stretch of a stream's audio, addressed by sample."""

import numpy as np
from numpy.typing import NDArray


class Tape:
    """Holds the newest samples of a stream: between `keep` and half as many again."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._samples = np.zeros(keep * 3 // 2, np.int16)
        self._size = 0
        self.end = 0

    @property
    def start(self) -> int:
        """The oldest sample that is held."""
        return self.end - self._size

    def push(self, samples: NDArray[np.int16]) -> None:
        """Takes the stream's next samples, a second at most."""
        if self._size + len(samples) > len(self._samples):
            kept = self._keep - len(samples)
            self._samples[:kept] = self._samples[self._size - kept : self._size]
            self._size = kept
        self._samples[self._size : self._size + len(samples)] = samples
        self._size += len(samples)
        self.end += len(samples)

    def clip(self, start: int, end: int) -> NDArray[np.float32]:
        """A copy of the samples between two positions that are held, in -1 to 1."""
        return self.held(start, end).astype(np.float32) / np.float32(32768)

    def held(self, start: int, end: int) -> NDArray[np.int16]:
        """The samples between two positions that are held, until the next push."""
        return self._samples[start - self.start : end - self.start]
