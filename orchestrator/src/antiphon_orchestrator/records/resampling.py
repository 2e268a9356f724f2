"""Sample-rate conversion of a side of a recording; to be replaced by `antiphon_runtime.resampling`."""

from av import AudioFrame
from av.filter import Graph

BYTES_PER_SAMPLE = 2


class StreamResampler:
    """Converts s16le mono from `from_hz` to `to_hz`, piece by piece."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._graph: Graph | None = None

    def resample(self, pcm: bytes) -> bytes:
        """Take the next samples and return what is complete."""
        if self.from_hz == self.to_hz or not pcm:
            return pcm
        graph = self._graph = self._graph or self._configured()
        frame = AudioFrame("s16", "mono", len(pcm) // BYTES_PER_SAMPLE)
        frame.sample_rate = self.from_hz
        frame.planes[0].update(pcm)
        graph.push(frame)
        output = []
        try:
            while True:
                converted = graph.pull()
                output.append(bytes(converted.planes[0])[: converted.samples * BYTES_PER_SAMPLE])  # type: ignore[union-attr]
        except BlockingIOError:
            return b"".join(output)

    def _configured(self) -> Graph:
        graph = Graph()
        graph.threads = 1  # else it starts one for each processor
        source = {"sample_rate": str(self.from_hz), "sample_fmt": "s16", "channel_layout": "mono"}
        nodes = (
            graph.add("abuffer", **source, time_base=f"1/{self.from_hz}"),
            graph.add("aresample", sample_rate=str(self.to_hz)),
            graph.add("aformat", sample_rates=str(self.to_hz), sample_fmts="s16", channel_layouts="mono"),
            graph.add("abuffersink"),
        )
        graph.link_nodes(*nodes).configure()
        return graph
