"""The chart renders with every preset, and says in words what is wrong with values."""

import copy
from typing import Any

import helm_python
import pytest
import schema
import yaml
from charts import CHART, COMBINATIONS, documents, files, of_kind, pod_specs, preset_values
from helm_python import HelmError

OPEN = {"auth": {"existingSecret": "", "allowOpen": True}}


@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize(("release", "namespace"), [("antiphon", "voice"), ("other", "elsewhere")])
def test_a_preset_renders_to_objects_with_names_of_their_own(combination: str, release: str, namespace: str) -> None:
    docs = documents(preset_values(combination), release=release, namespace=namespace)
    names = [(doc["apiVersion"], doc["kind"], doc["metadata"]["name"]) for doc in docs]
    assert len(names) == len(set(names))
    assert all(name.startswith(release) for _, _, name in names)
    assert {"Deployment", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"} <= {
        k for _, k, _ in names
    }


@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize("version", ["v1.27.0", "v1.37.0"])
def test_lint_finds_nothing(combination: str, version: str) -> None:
    found = helm_python.lint(str(CHART), preset_values(combination), strict=True, kube_version=version)
    assert not [one for one in found["messages"] if one["severity"] not in ("INFO", 1)], found


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every map in the values that has keys."""
    found = [path] if values else []
    for key, value in values.items():
        if isinstance(value, dict):
            found += leaves(value, (*path, key))
    return found


# What Kubernetes itself defines, or a name that the user chooses.
OPEN_MAPS = {"env", "secretEnv", "nodeSelector", "podLabels", "podAnnotations", "annotations", "serviceAnnotations"}
OPEN_MAPS |= {"labels", "requests", "limits", "affinity", "global"}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
CLOSED = [path for path in leaves(VALUES) if not OPEN_MAPS & set(path)]


@pytest.mark.parametrize("path", CLOSED, ids=".".join)
def test_a_mistyped_key_fails_and_is_named_anywhere_in_the_values(path: tuple[str, ...]) -> None:
    mistyped = copy.deepcopy(VALUES)
    at = mistyped
    for key in path:
        at = at[key]
    at["relpicas"] = 1
    with pytest.raises(HelmError, match="relpicas"):
        files(mistyped)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"services": {"asr": {"replicas": -1}}}, "asr/replicas"),
        ({"services": {"asr": {"image": {"digest": "latest"}}}}, "asr/image/digest"),
        ({"services": {"asr": {"env": {"A": 1}}}}, "asr/env/A"),
        ({"services": {"asr": {"gpu": {"resource": "gpu"}}}}, "gpu/resource"),
        ({"services": {"asrr": {}}}, "asrr"),
        ({"models": {"source": "s3"}}, "models/source"),
        ({"webrtc": {"iceServers": ["http://stun"]}}, "webrtc/iceServers"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said):
        files(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"services": {"asr": {"terminationGracePeriodSeconds": 74}}},
            "services.asr: terminationGracePeriodSeconds is 74, but",
        ),
        (
            {"services": {"orchestrator": {"drain": {"graceSeconds": 3600}}}},
            "services.orchestrator: .* calls would be cut off",
        ),
        ({"auth": {"existingSecret": ""}}, "auth.existingSecret is empty: name a Secret"),
        ({"models": {"source": "none"}}, "services.asr has init.command, but models.source is none"),
        (
            {"services": {"tts": {"autoscaling": {"enabled": True, "minReplicas": 5}}}},
            "minReplicas 5 is more than maxReplicas 4",
        ),
        ({"ingress": {"enabled": True}}, "ingress.host is empty"),
        ({"coturn": {"enabled": True}}, "coturn.enabled needs webrtc.relaySecret"),
        ({"webrtc": {"enabled": True}, "services": {"orchestrator": {"replicas": 2}}}, "sessionAffinity=ClientIP"),
    ],
)
def test_values_that_could_not_work_together_fail_with_a_sentence(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said):
        files(values)


def test_the_least_grace_that_is_enough_is_taken() -> None:
    assert documents({"services": {"asr": {"terminationGracePeriodSeconds": 75}}})


def test_without_tokens_processes_are_told_so_and_mount_no_secret() -> None:
    docs = documents(OPEN)
    assert "secret" not in yaml.safe_dump(list(pod_specs(docs).values())).replace("secretKeyRef", "")
    assert yaml.safe_dump(docs).count("_ALLOW_OPEN") == 5
    assert "WARNING" in files(OPEN)["NOTES.txt"]


def test_an_autoscaled_service_leaves_its_number_of_replicas_to_the_autoscaler() -> None:
    docs = documents(preset_values("prod"))
    scaled = set(of_kind(docs, "HorizontalPodAutoscaler"))
    assert scaled == {"antiphon-asr", "antiphon-tts", "antiphon-turn", "antiphon-orchestrator"}
    for name, deployment in of_kind(docs, "Deployment").items():
        assert ("replicas" in deployment["spec"]) == (name not in scaled)


@pytest.mark.parametrize(("spare", "surge"), [(False, 0), (True, 1)])
def test_a_rollout_on_gpus_needs_no_more_of_them_than_there_are(spare: bool, surge: int) -> None:
    docs = documents({"services": {"asr": {"gpu": {"count": 1, "spare": spare}}}})
    rolling = {name: one["spec"]["strategy"]["rollingUpdate"] for name, one in of_kind(docs, "Deployment").items()}
    assert rolling["antiphon-asr"] == {"maxSurge": surge, "maxUnavailable": 1 - surge}
    assert rolling["antiphon-turn"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_mutual_tls_comes_from_a_secret_and_health_stays_plain() -> None:
    docs = documents(preset_values("prod"))
    for name in ("asr", "tts", "llm", "turn"):
        (container,) = pod_specs(docs)[f"Deployment/antiphon-{name}"]["containers"]
        env = {one["name"]: one.get("value") for one in container["env"]}
        assert env[f"ANTIPHON_{name.upper()}_TLS_CLIENT_CA_FILE"] == "/etc/antiphon/tls/ca.crt"
        assert env[f"ANTIPHON_{name.upper()}_HEALTH_BIND"] == "0.0.0.0:50050"
        assert container["readinessProbe"]["grpc"]["port"] == 50050


def test_the_package_has_the_boards_and_rules_in_it(tmp_path: Any) -> None:
    chart = helm_python.Chart.load(helm_python.package(str(CHART), destination=str(tmp_path)))
    told = {"monitoring": {"rules": {"enabled": True}, "dashboards": {"enabled": True}}}
    text = "\n".join(chart.render(told, name="antiphon").values())
    assert "AntiphonTurnsFail" in text and "antiphon-board-latency" in text


def test_the_schema_is_what_the_code_writes() -> None:
    assert (CHART / "values.schema.json").read_text() == schema.rendered(), "stale: make chart"
