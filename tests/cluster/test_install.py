"""What an install is like: what `helm test` says, what pods are allowed, and what is told when something is amiss."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from charts import RELEASE, preset_values
from cluster import SECRET, Cluster, Space, gauge, until
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
    listed = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = ",".join(kind for kind in listed if not kind.startswith("events"))

    def there(space: Space) -> set[str]:
        return {f"{item['kind']}/{item['metadata']['name']}" for item in space.get(kinds)["items"]}

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


def test_the_canary_calls_and_exports_what_it_heard(stub: Space) -> None:
    stub.upgrade(preset_values("stub"), {"canary": {"enabled": True, "everySeconds": 5}})
    (pod,) = stub.until_ready("canary")
    answered = "antiphon_canary_calls_total"
    until(
        lambda: gauge(stub.cluster, pod, answered, port=9464, labels='{outcome="answered"}') >= 1, "a call is counted"
    )
    stub.upgrade(preset_values("stub"))


def certificates(folder: Path) -> dict[str, str]:
    """A CA, and a certificate for the four services by the names that the orchestrator dials, as base64."""
    names = ",".join(f"DNS:{RELEASE}-{name}" for name in ("asr", "tts", "llm", "turn"))
    authority = [
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=ca",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ]
    request = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=antiphon", "-keyout", "tls.key", "-out", "tls.csr"]
    signed = [
        "-req",
        "-in",
        "tls.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-out",
        "tls.crt",
    ]
    (folder / "names").write_text(f"subjectAltName={names}\n")
    for command in (["req", *authority], ["req", *request], ["x509", *signed, "-extfile", "names"]):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return {name: base64.b64encode((folder / name).read_bytes()).decode() for name in ("tls.crt", "tls.key", "ca.crt")}


def test_with_mutual_tls_a_call_is_answered_and_plaintext_is_not_served(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.namespace("tls") as space:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mutual", "namespace": space.name}}
        cluster.apply({**secret, "data": certificates(tmp_path)})
        space.install(preset_values("stub"), {"tls": {"existingSecret": "mutual"}})
        assert "A spoken call was answered." in space.helm_test()
        (pod,) = space.until_ready("asr")
        with pytest.raises(AssertionError, match="does not serve: UNAVAILABLE"):
            space.kubectl("exec", pod["metadata"]["name"], "--", "antiphon-probe", "127.0.0.1:50051")
