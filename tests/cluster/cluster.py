"""A cluster and what is installed in it, as the tests speak of them."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
from charts import CHART, RELEASE, merged
from k120 import as_chart

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "voice"
SECRET = "antiphon-tokens"
KEYS = {"session": "s" * 40, "service": "t" * 40}
# Native gRPC probes came with it.
WITH_GRPC_PROBES = 24
# So that what a test changes is done within seconds, not minutes.
QUICK: dict[str, Any] = {
    "image": {
        "registry": os.environ.get("REGISTRY", ""),
        "tag": os.environ.get("TAG", "test"),
        "pullPolicy": "IfNotPresent",
    },
    "defaults": {
        "drain": {"drainSeconds": 3, "graceSeconds": 20},
        "terminationGracePeriodSeconds": 40,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
    },
    "services": {
        "orchestrator": {
            "resources": {"requests": {"cpu": "20m"}},
            "drain": {"drainSeconds": 3, "graceSeconds": 120},
            "terminationGracePeriodSeconds": 140,
        }
    },
    "caller": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}},
}


def until(reached: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Waits for `reached()` to give something true, and gives it. Raises AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := reached()):
        assert time.monotonic() < deadline, f"gave up waiting until {what}"
        time.sleep(0.25)
    return found


@dataclass(frozen=True)
class Cluster:
    """`state` is the folder of a cluster of our own, None for somebody else's."""

    kubeconfig: Path
    state: Path | None

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Raises AssertionError with what kubectl says when it fails."""
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def get(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def apply(self, *documents: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(one) for one in documents))

    @property
    def minor(self) -> int:
        version = json.loads(self.kubectl("version", "-o", "json"))["serverVersion"]["minor"]
        return int(version.rstrip("+"))

    @contextmanager
    def namespace(self, name: str = NAMESPACE, *, secret: bool = True) -> Iterator["Space"]:
        """A namespace with our Secret in it, gone with all that is in it when the context ends."""
        self.kubectl("create", "namespace", name)
        try:
            if secret:
                literals = [f"--from-literal={key}={value}" for key, value in KEYS.items()]
                self.kubectl("create", "secret", "generic", SECRET, "-n", name, *literals)
            yield Space(self, name)
        finally:
            # The namespace controller would look again only after half of the longest grace.
            self.kubectl("-n", name, "delete", "deployments,replicasets", "--all")
            self.kubectl("-n", name, "delete", "pods", "--all", "--grace-period=0", "--force")
            self.kubectl("delete", "namespace", name, "--timeout=150s")


@dataclass(frozen=True)
class Space:
    """A namespace, and the release that may be in it."""

    cluster: Cluster
    name: str

    @property
    def helm(self) -> Any:
        return helm_python.Config(kubeconfig_path=str(self.cluster.kubeconfig), namespace=self.name)

    def install(self, *values: Mapping[str, Any], wait: bool = True, timeout_s: int = 150) -> None:
        """Raises HelmError when it does not become ready."""
        with self._chart(values) as (chart, told):
            self.helm.install(
                chart, RELEASE, told, namespace=self.name, wait="watcher" if wait else None, timeout=timeout_s
            )

    def upgrade(self, *values: Mapping[str, Any], wait: bool = True, timeout_s: int = 240) -> None:
        with self._chart(values) as (chart, told):
            self.helm.upgrade(
                chart, RELEASE, told, namespace=self.name, wait="watcher" if wait else None, timeout=timeout_s
            )

    def rollback(self) -> None:
        """To the revision before."""
        self.helm.rollback(RELEASE, wait="watcher", timeout=240)

    def uninstall(self) -> None:
        self.helm.uninstall(RELEASE, wait="watcher", timeout=150)

    def helm_test(self) -> str:
        """What the test says. Raises HelmError, with that in it, when it fails."""
        return str(self.helm.test(RELEASE, timeout=150, logs=True)["logs"])

    @contextmanager
    def _chart(self, values: tuple[Mapping[str, Any], ...]) -> Iterator[tuple[str, dict[str, Any]]]:
        told = merged(QUICK, *values)
        if self.cluster.minor >= WITH_GRPC_PROBES:
            yield str(CHART), told
            return
        with tempfile.TemporaryDirectory() as folder:
            yield str(as_chart(told, Path(folder, "antiphon"), release=RELEASE, namespace=self.name)), {}

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.name, *args, stdin=stdin)

    def get(self, *args: str) -> Any:
        return self.cluster.get("-n", self.name, *args)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those of a component that nobody has told to stop."""
        items = self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, component: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods(component) if is_ready(pod)]

    def until_ready(self, component: str, count: int = 1, timeout_s: float = 90.0) -> list[dict[str, Any]]:
        def there() -> list[dict[str, Any]]:
            pods = self.ready_pods(component)
            return pods if len(pods) == len(self.pods(component)) == count else []

        return list(until(there, f"{count} of {component} are ready", timeout_s))

    def delete_pods(self, component: str, *, grace_s: int | None = None) -> None:
        how = [] if grace_s is None else [f"--grace-period={grace_s}", "--force"]
        self.kubectl("delete", "pod", "-l", f"app.kubernetes.io/component={component}", "--wait=false", *how)

    def events(self) -> str:
        """The messages of all warnings."""
        items = self.get("events", "--field-selector", "type=Warning")["items"]
        return "\n".join(item["message"] for item in items)

    @contextmanager
    def reached(self, service: str = "orchestrator") -> Iterator[str]:
        """host:port of a Service from here: its cluster IP, or a forwarded port of somebody else's cluster."""
        name = f"{RELEASE}-{service}"
        spec = self.get("service", name)["spec"]
        port = spec["ports"][0]["port"]
        if self.cluster.state:
            yield f"{spec['clusterIP']}:{port}"
            return
        command = ["kubectl", f"--kubeconfig={self.cluster.kubeconfig}", "-n", self.name, "port-forward"]
        with subprocess.Popen(
            [*command, f"service/{name}", f":{port}"], stdout=subprocess.PIPE, text=True
        ) as forwarding:
            try:
                assert forwarding.stdout
                # "Forwarding from 127.0.0.1:40123 -> 7860"
                yield forwarding.stdout.readline().split()[2]
            finally:
                forwarding.terminate()


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def gauge(cluster: Cluster, pod: Mapping[str, Any], name: str, *, port: int = 9090, labels: str = "") -> float:
    """A metric of a pod's, as a scrape finds it: the sum over its series, or the one with these labels."""
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}:{port}/proxy/metrics"
    lines = cluster.kubectl("get", "--raw", path).splitlines()
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.split()[0].partition("{")[0] == name and labels in line.split()[0]
    )
