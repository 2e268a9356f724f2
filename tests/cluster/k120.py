"""The chart for Kubernetes 1.20, the only one that can be had here without a registry.

What 1.20 lacks is changed in `converted`, and nowhere else: two API versions, and gRPC probes, which become commands
that ask the same health service. Everything else of the chart is installed as it is: tests/deploy/test_files.py.
"""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from charts import files

API_VERSIONS = {
    ("policy/v1", "PodDisruptionBudget"): "policy/v1beta1",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2",
}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# Each command is a Python process of a third of a second, where a native probe costs next to nothing: more seldom.
COMMAND_TIMEOUT_S = 10
LEAST_PERIOD_S = {"startupProbe": 2, "readinessProbe": 10, "livenessProbe": 60}
CHART_YAML = {"apiVersion": "v2", "name": "antiphon", "version": "0.1.0"}


def converted(document: Mapping[str, Any]) -> dict[str, Any]:
    """An object of the chart as 1.20 knows it."""
    result = copy.deepcopy(dict(document))
    kind = (result["apiVersion"], result["kind"])
    result["apiVersion"] = API_VERSIONS.get(kind, result["apiVersion"])
    pod = result["spec"].get("template", {}).get("spec", {}) if "spec" in result else {}
    for container in pod.get("containers", []):
        for name in PROBES:
            if "grpc" in container.get(name, {}):
                container[name] = _as_command(name, container[name])
    return result


def _as_command(name: str, probe: dict[str, Any]) -> dict[str, Any]:
    asked = probe.pop("grpc")
    command = ["antiphon-probe", f"127.0.0.1:{asked['port']}", asked.get("service", "")]
    period = max(probe["periodSeconds"], LEAST_PERIOD_S[name])
    return {**probe, "exec": {"command": command}, "timeoutSeconds": COMMAND_TIMEOUT_S, "periodSeconds": period}


def as_chart(values: Mapping[str, Any], folder: Path, **where: str) -> Path:
    """A chart in `folder` that installs what ours renders to with `values`, converted."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(yaml.safe_dump(CHART_YAML))
    for path, text in files(values, **where).items():
        target = folder / "templates" / path.replace("/", "-")
        if path.endswith(".txt"):
            target.write_text(_literal(text))
            continue
        documents = [converted(one) for one in yaml.safe_load_all(text) if one]
        target.write_text(_literal(yaml.safe_dump_all(documents, sort_keys=False, width=10_000)))
    return folder


def _literal(text: str) -> str:
    """Text that Helm's templating leaves as it is."""
    return text.replace("{{", "{{`{{`}}")
