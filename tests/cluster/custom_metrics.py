"""The custom metrics API for the autoscaler, as an adapter serves it: gauges read from the pods themselves.

custom_metrics.py KUBECONFIG CERT KEY ADDRESS PORT serves it. A process of its own: Helm's SDK holds the interpreter
while it talks to the API server, which asks here.
"""

import json
import os
import re
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cluster import Cluster, gauge, is_ready, until

GROUP = "custom.metrics.k8s.io"
ROOT = f"/apis/{GROUP}/v1beta1"
NAME = f"v1beta1.{GROUP}"


def _objects(address: str, port: int) -> list[dict[str, Any]]:
    meta = {"name": "custom-metrics", "namespace": "kube-system"}
    roles = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "custom-metrics"}}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "custom-metrics"}
    scaler = {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}
    spec = {
        "group": GROUP,
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": meta,
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"ports": [{"port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": meta,
            "subsets": [{"addresses": [{"ip": address}], "ports": [{"port": port}]}],
        },
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME}, "spec": spec},
        {
            **roles,
            "kind": "ClusterRole",
            "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list"]}],
        },
        {**roles, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [scaler]},
    ]


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urllib.parse.urlparse(self.path)
        asked = re.fullmatch(rf"{ROOT}/namespaces/([^/]+)/pods/\*/([^/]+)", urllib.parse.unquote(url.path))
        if asked:
            selector = urllib.parse.parse_qs(url.query).get("labelSelector", [""])[0]
            answer = self._values(asked[1], asked[2], selector)
        else:
            answer = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/v1beta1",
                "resources": [],
            }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _values(self, namespace: str, metric: str, selector: str) -> dict[str, Any]:
        pods = self.cluster.get("-n", namespace, "pods", "-l", selector)["items"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        items = [
            {
                "describedObject": {"kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"]},
                "metricName": metric,
                "timestamp": now,
                "value": str(round(gauge(self.cluster, pod, metric))),
            }
            for pod in pods
            if is_ready(pod)
        ]
        return {"kind": "MetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items}

    def log_message(self, *_: Any) -> None:
        pass


def main(kubeconfig: str, certificate: str, key: str, address: str, port: str) -> None:
    cluster = Cluster(Path(kubeconfig), None)
    server = ThreadingHTTPServer((address, int(port)), type("Handler", (_Handler,), {"cluster": cluster}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # Each connection's handshake is its own thread's matter.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


@contextmanager
def serving(cluster: Cluster, address: str, port: int) -> Iterator[None]:
    """The API at the node's `address`, registered for as long as the context lasts."""
    assert cluster.state
    pki, objects = cluster.state / "pki", _objects(address, port)
    command = [sys.executable, __file__, str(cluster.kubeconfig), f"{pki}/apiserver.crt", f"{pki}/apiserver.key"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([*command, address, str(port)], env=environment) as process:
        try:
            cluster.apply(*objects)
            until(lambda: _available(cluster), "the API is registered")
            yield
        finally:
            cluster.kubectl(
                "delete", "--ignore-not-found", "-f", "-", stdin="\n---\n".join(json.dumps(one) for one in objects)
            )
            process.kill()  # Helm's library, which comes with `cluster`, catches SIGTERM


def _available(cluster: Cluster) -> bool:
    conditions = cluster.get("apiservice", NAME).get("status", {}).get("conditions", [])
    return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)


if __name__ == "__main__":
    main(*sys.argv[1:])
