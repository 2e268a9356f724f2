"""Low-delay sample-rate conversion of live mono 16-bit audio by FFmpeg's swresample. Needs the extra `audio` (PyAV)."""

from av import AudioFrame
from av.filter import Graph

from .pcm import BYTES_PER_SAMPLE

RATES_HZ = range(4_000, 192_001)
TAPS = 30
MAX_DELAY_SAMPLES = 17
# A Kaiser-windowed sinc of 30 taps at the lower of the two rates, half of which a stream lacks; 256 phases, between
# which it interpolates. docs/decisions/0019 compares these values with others and with soxr.
FILTER = {
    "filter_size": str(TAPS),
    "filter_type": "kaiser",
    "kaiser_beta": "7",
    "cutoff": "0.93",
    "phase_shift": "8",
    "linear_interp": "1",
}


class StreamResampler:
    """Converts s16le mono from `from_hz` to `to_hz`, piece by piece; the result does not depend on the pieces.

    The result is aligned with the input to the sample. It lacks MAX_DELAY_SAMPLES at most at the lower of the two rates
    (2 ms at 8 kHz, 1 ms at 16 kHz), which `flush` returns; the first output needs 34 of them. With `fixed_delay` it
    begins with so much silence instead, and a piece gives as many milliseconds as it has: what counts in frames of 20
    ms need not wait for the next one. A sine up to 0.425 of the lower rate keeps a signal-to-noise ratio of 75 dB and
    loses 0.5 dB at most; what lies beyond 0.53 of it is 58 dB down.

    Holds a few milliseconds of audio. Not for several threads at once. Raises ValueError for a rate outside RATES_HZ.
    """

    def __init__(self, from_hz: int, to_hz: int, *, fixed_delay: bool = False) -> None:
        for rate_hz in (from_hz, to_hz):
            if rate_hz not in RATES_HZ:
                raise ValueError(f"sample rate {rate_hz} is not within {RATES_HZ[0]} to {RATES_HZ[-1]} Hz")
        self.from_hz = from_hz
        self.to_hz = to_hz
        lead_samples = -(-MAX_DELAY_SAMPLES * to_hz // min(from_hz, to_hz)) if fixed_delay else 0
        self._fixed_delay = fixed_delay
        self._lead = bytes(lead_samples * BYTES_PER_SAMPLE)
        # None until the stream has samples.
        self._graph: Graph | None = None
        self._taken = 0
        self._given = 0
        self._converted = False
        self._ready = self._lead

    def resample(self, pcm: bytes) -> bytes:
        """Take the next samples and return what is complete. Raises ValueError for half a sample."""
        if len(pcm) % BYTES_PER_SAMPLE:
            raise ValueError(f"audio of {len(pcm)} bytes is not whole 16-bit samples")
        if self.from_hz == self.to_hz or not pcm:
            return pcm
        self._taken += len(pcm) // BYTES_PER_SAMPLE
        converted = self._convert(pcm)
        self._converted = self._converted or bool(converted)
        if not self._fixed_delay:
            return converted
        self._ready += converted
        due = (self._taken * self.to_hz // self.from_hz) * BYTES_PER_SAMPLE - self._given
        output, self._ready = self._ready[:due], self._ready[due:]
        self._given += len(output)
        return output

    def flush(self) -> bytes:
        """Return the rest of the samples taken so far, and start a new stream."""
        if not self._taken:
            return b""
        if self._converted:
            rest = self._convert(None)
        else:
            # swresample gives nothing of a stream shorter than its filter, unless silence follows.
            silent = 2 * TAPS * max(1, -(-self.from_hz // self.to_hz))
            output_bytes = -(-self._taken * self.to_hz // self.from_hz) * BYTES_PER_SAMPLE
            rest = self._convert(bytes(silent * BYTES_PER_SAMPLE))[:output_bytes]
        rest = self._ready + rest
        self._graph, self._ready, self._converted = None, self._lead, False
        self._taken = self._given = 0
        return rest

    def _convert(self, pcm: bytes | None) -> bytes:
        """Push samples, or the end of the stream, and return all that comes out."""
        graph = self._graph = self._graph or self._configured()
        if pcm is None:
            graph.push(None)
        else:
            frame = AudioFrame("s16", "mono", len(pcm) // BYTES_PER_SAMPLE)
            frame.sample_rate = self.from_hz
            frame.planes[0].update(pcm)
            graph.push(frame)
        output = []
        try:
            while True:
                converted = graph.pull()
                # A plane's buffer may be longer than its samples.
                output.append(bytes(converted.planes[0])[: converted.samples * BYTES_PER_SAMPLE])  # type: ignore[union-attr]
        except (BlockingIOError, EOFError):
            return b"".join(output)

    def _configured(self) -> Graph:
        graph = Graph()
        # By default libavfilter starts a thread for each processor, in every graph. av.AudioResampler leaves it so.
        graph.threads = 1
        source = {"sample_rate": str(self.from_hz), "sample_fmt": "s16", "channel_layout": "mono"}
        result = {"sample_rates": str(self.to_hz), "sample_fmts": "s16", "channel_layouts": "mono"}
        nodes = (
            graph.add("abuffer", **source, time_base=f"1/{self.from_hz}"),
            graph.add("aresample", **FILTER, sample_rate=str(self.to_hz)),
            graph.add("aformat", **result),
            graph.add("abuffersink"),
        )
        graph.link_nodes(*nodes).configure()
        return graph
