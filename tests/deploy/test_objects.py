"""Every object that the chart renders to is one that Kubernetes knows, and restricted pods are all there is."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from charts import COMBINATIONS, Document, documents, merged, pod_specs, preset_values
from cloudcoil.models.prometheus_operator import v1 as operator

ROOT = Path(__file__).resolve().parents[2]
CUSTOM = {"PodMonitor": operator.PodMonitor, "PrometheusRule": operator.PrometheusRule}
# All that a preset leaves off.
EVERYTHING: dict[str, Any] = {
    "agents": "agents: {}",
    "monitoring": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "canary": {"enabled": True},
    "webrtc": {"enabled": True, "relaySecret": "relay", "iceServers": ["turn:turn.example.com:3478"]},
    "coturn": {"enabled": True},
    "ingress": {"enabled": True, "host": "voice.example.com"},
    "telemetry": {"otlpUrl": "http://collector.observability:4318"},
    "image": {"registry": "registry.example.com", "pullSecrets": ["pull"]},
}
ALL = {**{name: preset_values(name) for name in COMBINATIONS}, "everything": merged(preset_values("cpu"), EVERYTHING)}


def is_known(document: Document, version: str) -> None:
    """Raises when the object is not one of this Kubernetes', unknown kinds and API versions included."""
    model = CUSTOM.get(document["kind"])
    if model is None:
        kubernetes_validate.validate(document, version, strict=True)
        return
    read = model.model_validate(document).model_dump(by_alias=True, exclude_none=True, mode="json")
    assert _within(document, read), f"{document['kind']} has a field that its operator does not know"


def _within(asked: Any, known: Any) -> bool:
    """Whether all of `asked` came through a model that drops what it does not know."""
    if isinstance(asked, dict):
        return isinstance(known, dict) and all(key in known and _within(one, known[key]) for key, one in asked.items())
    if isinstance(asked, list):
        return isinstance(known, list) and len(asked) == len(known) and all(map(_within, asked, known))
    return bool(asked == known or str(asked) == str(known))


@pytest.mark.parametrize("version", ["1.27", "1.37"])
@pytest.mark.parametrize("combination", ALL)
def test_kubernetes_knows_every_object(combination: str, version: str) -> None:
    for document in documents(ALL[combination]):
        is_known(document, version)


@pytest.mark.parametrize(
    "wrong",
    [
        {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}},
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": {"name": "a"},
            "spec": {"selector": {}, "podMetricsEndpoints": [{"port": "metrics", "intervall": "5s"}]},
        },
    ],
    ids=["an API that is gone", "an unknown kind", "a mistyped field", "a mistyped field of an operator's"],
)
def test_what_is_not_known_is_noticed(wrong: Document) -> None:
    with pytest.raises(Exception):  # noqa: B017  # each validator has its own
        is_known(wrong, "1.37")


def breaches(spec: Document) -> list[str]:
    """What of the restricted pod security standard a pod does not keep, and what of our own rules."""
    pod = spec.get("securityContext", {})
    found = [f"has {name}" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found += [f"volume {one['name']}" for one in spec.get("volumes", []) if not allowed & set(one)]
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("no seccomp profile")
    if spec.get("automountServiceAccountToken") is not False or spec.get("enableServiceLinks") is not False:
        found.append("a token of the cluster, or its service links")
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        own = {**pod, **container.get("securityContext", {})}
        if not own.get("runAsNonRoot") or own.get("runAsUser") != 10001:
            found.append(f"{container['name']}: not uid 10001")
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append(f"{container['name']}: may gain privileges")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append(f"{container['name']}: keeps capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append(f"{container['name']}: may write its root")
        if "memory" not in container.get("resources", {}).get("limits", {}) or "requests" not in container["resources"]:
            found.append(f"{container['name']}: no limit of memory, or no requests")
    return found


@pytest.mark.parametrize("combination", ALL)
def test_every_pod_is_restricted(combination: str) -> None:
    found = {name: breaches(spec) for name, spec in pod_specs(documents(ALL[combination])).items()}
    assert not {name: wrong for name, wrong in found.items() if wrong}


def test_a_cache_on_the_node_is_said_to_break_the_standard() -> None:
    docs = documents({"models": {"source": "hostPath"}})
    assert breaches(pod_specs(docs)["Deployment/antiphon-asr"]) == ["volume models"]
    assert "not allowed by the restricted" in (ROOT / "deploy/helm/antiphon/values.yaml").read_text()


def test_no_secret_is_made_and_none_is_in_a_value() -> None:
    text = yaml.safe_dump(documents(ALL["everything"]))
    assert "kind: Secret\n" not in text
