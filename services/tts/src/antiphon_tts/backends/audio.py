"""From a model's samples, as they come, to what a caller asked for: less silence at the start, their rate, 16 bits."""

import numpy as np

from antiphon_runtime.resampling import StreamResampler

from .trimming import SILENCE_RMS, WINDOW_MS, Samples


class Finisher:
    """One segment's samples. The bytes do not depend on how the samples were cut into pieces.

    `lead_ms` of silence are kept before the first sound, and no more than `most_lead_ms` are dropped: what is quiet for
    longer is passed on as it is.
    """

    def __init__(self, model_hz: int, rate_hz: int, lead_ms: int, most_lead_ms: int) -> None:
        self._scale = rate_hz / model_hz
        self._window = model_hz * WINDOW_MS // 1000
        self._lead = model_hz * lead_ms // 1000
        self._most = self._lead + model_hz * most_lead_ms // 1000
        self._resampler = StreamResampler(model_hz, rate_hz)
        # None once the first sound has been found, or given up.
        self._held: Samples | None = np.zeros(0, np.float32)
        self._searched = 0
        self.dropped = 0

    @property
    def silent(self) -> int:
        """Number of samples so far that are dropped or held back."""
        return self.dropped if self._held is None else len(self._held)

    def push(self, samples: Samples) -> bytes:
        """The next samples, float32 from -1 to 1; what can be heard of them now."""
        return self._pcm(self._trimmed(samples), last=False)

    def finish(self) -> bytes:
        """Return the audio held back. Nothing is left of a segment without any sound."""
        return self._pcm(np.zeros(0, np.float32), last=True)

    def place(self, sample: float) -> int:
        """Map a sample index in the model's output of the segment to its index in the returned audio."""
        return int(max(0.0, sample - self.dropped) * self._scale)

    def _trimmed(self, samples: Samples) -> Samples:
        if self._held is None:
            return samples
        self._held = np.concatenate((self._held, samples))
        while self._searched + self._window <= len(self._held):
            frame = self._held[self._searched : self._searched + self._window]
            if np.sqrt(np.mean(frame**2)) > SILENCE_RMS or self._searched >= self._most:
                self.dropped = max(0, self._searched - self._lead)
                found, self._held = self._held[self.dropped :], None
                return found
            self._searched += self._window
        return samples[:0]

    def _pcm(self, samples: Samples, *, last: bool) -> bytes:
        pcm = np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        return self._resampler.resample(pcm) + (self._resampler.flush() if last else b"")
