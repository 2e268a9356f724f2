"""A Prometheus of Debian's package, as it would be run beside the platform."""

import asyncio
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from platform_fixture import until

RULES = Path(__file__).parents[1] / "deploy/prometheus"
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: apt-get install prometheus",
)


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result's series. Raises AssertionError with Prometheus's words for an expression that it refuses."""
        return list(self._get("query", {"query": expression, **({"time": at} if at else {})})["result"])

    def range(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """The result's series over a time, second by second."""
        parameters = {"query": expression, "start": start, "end": end, "step": 1}
        return list(self._get("query_range", parameters)["result"])

    def values(self, expression: str, start: float, end: float) -> list[float]:
        """Every finite value of the series over a time."""
        found = self.range(expression, start, end)
        return [float(value) for series in found for _, value in series["values"] if value not in ("NaN", "+Inf")]

    def exemplars(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        return list(self._get("query_exemplars", {"query": expression, "start": start, "end": end}))

    def _get(self, what: str, parameters: Mapping[str, object]) -> Any:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()[:300]}") from error

    async def scraped(self, *jobs: str) -> float:
        """Returns once each of these jobs has been scraped after now, and gives a time at which that is seen."""
        asked, wanted = time.time(), "|".join(jobs)
        async with asyncio.timeout(120):
            while True:
                times = [float(one["value"][1]) for one in self.query(f'timestamp(up{{job=~"{wanted}"}})')]
                if len(times) == len(jobs) and min(times) > asked:
                    up = self.query(f'up{{job=~"{wanted}"}} == 1', max(times))
                    if len(up) == len(jobs):
                        return max(times)
                await asyncio.sleep(0.2)  # it tells nobody

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@asynccontextmanager
async def scraping(targets: Mapping[str, str], port: int, folder: Path) -> AsyncIterator[Prometheus]:
    """Scrapes "host:port" of each job every second, with our rules, until the context ends."""
    config = folder / "prometheus.yml"
    content = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "2s"},
        "rule_files": [str(RULES / "rules.yml"), str(RULES / "alerts.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
        ],
    }
    config.write_text(yaml.safe_dump(content))
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    process = await asyncio.create_subprocess_exec(
        "prometheus", *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    at = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await until(at.ready, timeout_s=90)
        yield at
    finally:
        process.terminate()
        await process.wait()
