"""Replicas: streams spread over them, a custom metric moves their number, a budget protects them, GPUs bind them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from charts import preset_values
from cluster import Cluster, Space, gauge, until
from custom_metrics import serving
from pods import calling

GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def test_one_to_three_to_one_spreads_the_streams_and_drops_none(stub: Space) -> None:
    def replicas(count: int) -> None:
        stub.upgrade(preset_values("stub"), {"services": {"tts": {"replicas": count}, "asr": {"replicas": count}}})

    with calling(stub, "scaling", turns=12) as callers:
        replicas(3)
        pods = stub.until_ready("asr", 3)
        until(
            lambda: all(gauge(stub.cluster, pod, "antiphon_asr_slots_used") for pod in pods),
            "every replica has streams",
            90,
        )
        replicas(1)
    assert not callers.problems, callers.problems
    assert len({one["address"] for one in callers.told["streams"] if one["service"] == "tts"}) >= 3
    stub.until_ready("asr", 1)


def test_calls_move_the_number_of_orchestrators_and_their_end_moves_it_back(own: Cluster, stub: Space) -> None:
    autoscaled = {
        "services": {
            "orchestrator": {
                "autoscaling": {
                    "enabled": True,
                    "minReplicas": 1,
                    "maxReplicas": 2,
                    "target": 2,
                    "scaleDownWindowSeconds": 5,
                }
            }
        }
    }
    assert own.state
    with serving(own, "10.97.0.1", 16444):
        stub.upgrade(preset_values("stub"), autoscaled)
        with calling(stub, "autoscaling", turns=12) as callers:
            until(lambda: len(stub.ready_pods("orchestrator")) == 2, "its calls have brought one more", 120)
        assert not callers.problems, callers.problems
        until(lambda: len(stub.pods("orchestrator")) == 1, "it has gone again", 180)
        stub.upgrade(preset_values("stub"))


def test_a_drain_of_nodes_takes_one_replica_at_a_time(stub: Space) -> None:
    stub.upgrade(preset_values("stub"), {"services": {"tts": {"replicas": 2}}})
    first, second = stub.until_ready("tts", 2)

    def evict(pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1beta1" if stub.cluster.minor < 22 else "policy/v1", "kind": "Eviction"}
        eviction["metadata"] = {"name": name, "namespace": stub.name}  # type: ignore[assignment]
        path = f"/api/v1/namespaces/{stub.name}/pods/{name}/eviction"
        stub.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    until(lambda: stub.get("pdb", "antiphon-tts")["status"].get("disruptionsAllowed") == 1, "the budget is known", 30)
    evict(first)
    with pytest.raises(AssertionError, match="disruption budget"):
        evict(second)
    stub.until_ready("tts", 2)
    stub.upgrade(preset_values("stub"))


@contextmanager
def gpus(own: Cluster, count: int) -> Iterator[None]:
    """The node with as many GPUs as are claimed, tainted as GPU nodes are."""
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
    own.kubectl("patch", "node", "node1", "--subresource=status", "--type=json", "-p", json.dumps(patch))
    own.kubectl("label", "node", "node1", "nvidia.com/gpu.present=true")
    own.kubectl("taint", "node", "node1", "nvidia.com/gpu=present:NoSchedule")
    try:
        yield
    finally:
        own.kubectl("taint", "node", "node1", "nvidia.com/gpu-")
        own.kubectl("label", "node", "node1", "nvidia.com/gpu.present-")
        patch[0]["op"] = "remove"
        own.kubectl("patch", "node", "node1", "--subresource=status", "--type=json", "-p", json.dumps(patch))


def test_a_pod_goes_where_its_gpu_is_and_a_rollout_needs_no_second_one(own: Cluster) -> None:
    on_gpu = {"gpu": {"count": 1}, "nodeSelector": {"nvidia.com/gpu.present": "true"}}
    values = {
        "defaults": {"tolerations": [GPU_TAINT]},
        "services": {"asr": on_gpu, "turn": {"tolerations": []}},
    }
    with gpus(own, 1), own.namespace("gpus") as space:
        space.install(preset_values("stub"), values, wait=False)
        (pod,) = space.until_ready("asr")
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        until(lambda: "that the pod didn't tolerate" in space.events(), "the one without a toleration stays away", 60)
        values["services"]["turn"] = {}
        space.upgrade(preset_values("stub"), values, {"services": {"asr": {"podAnnotations": {"again": "1"}}}})
        (after,) = space.until_ready("asr")
        assert after["metadata"]["uid"] != pod["metadata"]["uid"]
