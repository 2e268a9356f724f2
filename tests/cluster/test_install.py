"""What an install is like: what `helm test` says, what pods are allowed, and what is told when something is amiss."""

import json
from typing import Any

import pytest
from charts import preset_values
from cluster import SECRET, Cluster, Space, until
from helm_python import HelmError

COMPONENTS = ("asr", "tts", "llm", "turn", "orchestrator")


def test_helm_test_places_a_spoken_call(stub: Space) -> None:
    assert "A spoken call was answered." in stub.helm_test()


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_container_has_uid_10001_no_capability_and_a_root_it_cannot_write(stub: Space, component: str) -> None:
    (pod,) = stub.until_ready(component)
    name = pod["metadata"]["name"]
    status = stub.kubectl("exec", name, "--", "cat", "/proc/1/status")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert told["Uid"].split() == told["Gid"].split() == ["10001"] * 4
    assert {told[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert told["NoNewPrivs"] == "1" and told["Seccomp"] == "2"
    with pytest.raises(AssertionError, match="Read-only file system"):
        stub.kubectl("exec", name, "--", "touch", "/opt/antiphon/mine")
    stub.kubectl("exec", name, "--", "touch", "/tmp/mine")
    with pytest.raises(AssertionError, match="No such file"):
        stub.kubectl("exec", name, "--", "ls", "/var/run/secrets/kubernetes.io")


def test_nothing_is_left_after_an_uninstall_but_the_secret_that_was_there(cluster: Cluster) -> None:
    kinds = ",".join(
        kind.split()[0]
        for kind in cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        if not kind.startswith(("events", "controllerrevisions"))
    )

    def there(space: Space) -> set[str]:
        items = space.get(kinds, "--ignore-not-found")["items"] if kinds else []
        return {f"{item['kind']}/{item['metadata']['name']}" for item in items}

    with cluster.namespace("leaving") as space:
        until(lambda: any(one.startswith("ServiceAccount/default") for one in there(space)), "the namespace is set up")
        before = there(space)
        space.install(preset_values("stub"))
        assert len(there(space)) > len(before) + 20
        space.uninstall()
        until(lambda: there(space) <= before, "all of it has gone", 120)
        assert f"Secret/{SECRET}" in before


def test_a_missing_secret_is_told_by_the_events_and_by_helm_test(cluster: Cluster) -> None:
    with cluster.namespace("amiss", secret=False) as space:
        space.install(preset_values("stub"), wait=False)
        until(lambda: f'secret "{SECRET}" not found' in space.events(), "an event names the secret", 90)
        with pytest.raises(HelmError):
            space.helm_test()
        said = space.kubectl("logs", "antiphon-test-call")
        assert f"The Secret {SECRET} is missing" in said
        assert "The asr service is not ready. Why: kubectl describe pod" in said


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image": {"registry": "nowhere.invalid"}}, "nowhere.invalid"),
        ({"services": {"asr": {"gpu": {"count": 1, "resource": "nvidia.com/gpuu"}}}}, "Insufficient nvidia.com/gpuu"),
    ],
    ids=["an unreachable registry", "a wrong GPU resource"],
)
def test_an_event_names(cluster: Cluster, values: dict[str, Any], sentence: str) -> None:
    with cluster.namespace("amiss") as space:
        space.install(preset_values("stub"), values, wait=False)
        until(lambda: sentence in space.events(), f"an event says {sentence}", 90)


def test_notes_tell_how_to_make_the_secret_and_to_call(stub: Space) -> None:
    notes = json.dumps(stub.helm.status("antiphon"), default=str)
    for command in ("kubectl create secret generic antiphon-tokens", "helm test antiphon", "kubectl port-forward"):
        assert command in notes
