"""Sample-rate conversion of a side of a recording; to be replaced by `antiphon_runtime.resampling`."""

from av import AudioFrame, AudioResampler

BYTES_PER_SAMPLE = 2


class StreamResampler:
    """Converts s16le mono from `from_hz` to `to_hz`, piece by piece."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._resampler = AudioResampler("s16", "mono", to_hz)

    def resample(self, pcm: bytes) -> bytes:
        """Take the next samples and return what is complete."""
        if self.from_hz == self.to_hz or not pcm:
            return pcm
        frame = AudioFrame("s16", "mono", len(pcm) // BYTES_PER_SAMPLE)
        frame.sample_rate = self.from_hz
        frame.planes[0].update(pcm)
        frames = self._resampler.resample(frame)
        return b"".join(bytes(one.planes[0])[: one.samples * BYTES_PER_SAMPLE] for one in frames)
