"""What a service says of itself to Prometheus, between two looks."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """Every sample of a scrape, by name and labels."""

    samples: Mapping[tuple[str, Labels], float]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have those labels, and perhaps others."""
        wanted = set(labels.items())
        return sum(value for (found, own), value in self.samples.items() if found == name and wanted <= set(own))

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """A histogram's cumulative counts by upper bound."""
        wanted = set(labels.items())
        found: dict[float, float] = {}
        for (sample, own), value in self.samples.items():
            if sample == f"{name}_bucket" and wanted <= set(own):
                bound = float(dict(own)["le"])
                found[bound] = found.get(bound, 0.0) + value
        return found


async def scrape(address: str) -> Scrape:
    """Looks at `address`, "host:port". Raises OSError when nothing answers there."""

    def read() -> str:
        with urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    families = text_string_to_metric_families(await asyncio.to_thread(read))
    samples = (sample for family in families for sample in family.samples)
    return Scrape({(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples})


def quantile(before: Scrape, after: Scrape, share: float, name: str, **labels: str) -> float | None:
    """The quantile of what a histogram counted between two looks, as PromQL's histogram_quantile has it.

    Linear within a bucket; the last finite bound when it lies beyond. None when nothing was counted.
    """
    earlier = before.buckets(name, **labels)
    counts = sorted((bound, count - earlier.get(bound, 0.0)) for bound, count in after.buckets(name, **labels).items())
    if not counts or not counts[-1][1]:
        return None
    rank, low, below = share * counts[-1][1], 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return low
