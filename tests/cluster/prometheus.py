"""A Prometheus that scrapes the pods, as the chart's PodMonitor would have it."""

import json
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from charts import RELEASE
from cluster import Space, until

LABEL = "app.kubernetes.io/component"


class Prometheus:
    def __init__(self, port: int) -> None:
        self._at = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._at}/-/ready", timeout=2):
                return True
        except OSError:
            return False

    def until(self, query: str) -> float:
        """The value of a query of one series, as soon as it has one that is not 0."""
        return float(until(lambda: self._value(query), f"Prometheus knows {query}", 30))

    def _value(self, query: str) -> float:
        url = f"{self._at}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0


@contextmanager
def scraping(space: Space) -> Iterator[Prometheus]:
    """Scrapes every pod of the release that exports metrics, each second."""
    if not (program := shutil.which("prometheus")) or not space.cluster.state:
        pytest.skip("it needs Debian's prometheus, and pods that can be reached from here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        (config := Path(folder, "prometheus.yml")).write_text(yaml.safe_dump(_config(space)))
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
        with subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
        ) as running:
            try:
                prometheus = Prometheus(port)
                until(prometheus.ready, "Prometheus is ready")
                yield prometheus
            finally:
                running.terminate()


def _config(space: Space) -> dict[str, object]:
    pods = space.get("pods", "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
    jobs = []
    for pod in pods:
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])}
        if "metrics" in ports and "deletionTimestamp" not in pod["metadata"]:
            target = f"{pod['status']['podIP']}:{ports['metrics']}"
            jobs.append(
                {"job_name": f"antiphon-{pod['metadata']['labels'][LABEL]}", "static_configs": [{"targets": [target]}]}
            )
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
