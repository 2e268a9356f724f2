"""What is deployed agrees with the code: settings, ports, health names, edges, metrics, images, flags."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, COMBINATIONS, Document, documents, of_kind, pod_labels, pod_specs, preset_values
from test_objects import ALL

from antiphon_asr.settings import Settings as Asr
from antiphon_llm.settings import Settings as Llm
from antiphon_tts.settings import Settings as Tts
from antiphon_turn.settings import Settings as Turn

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"asr": Asr, "tts": Tts, "llm": Llm, "turn": Turn}
METRICS = (ROOT / "docs/telemetry.md").read_text()
# The orchestrator's settings are read as text: its package needs Pipecat.
ORCHESTRATOR = set(
    re.findall(r"^    (\w+): ", (ROOT / "orchestrator/src/antiphon_orchestrator/settings.py").read_text(), re.MULTILINE)
)
OTHERS = {
    "ANTIPHON_MODELS_DIR",
    "HF_HOME",
    "HOME",
    "LOGNAME",
    "VLLM_NO_USAGE_STATS",
    "DO_NOT_TRACK",
    "POD_IP",
    "RELAY_SECRET",
}


def is_setting(name: str) -> bool:
    """Whether a process would take this variable."""
    service, _, setting = name.removeprefix("ANTIPHON_").lower().partition("_")
    if name in OTHERS or service == "orchestrator":
        return name in OTHERS or setting in ORCHESTRATOR
    if service not in SERVICES:
        return False
    backend, _, of_backend = setting.partition("__")
    if not of_backend:
        return setting in SERVICES[service].model_fields
    # A backend's own: the README of its service has it, in a table headed by its prefix.
    readme = (ROOT / f"services/{service}/README.md").read_text()
    return f"{backend.upper()}__" in readme and f"`{of_backend.upper()}`" in readme


def env_of(spec: Document) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for c in spec["containers"] for one in c.get("env", [])}


@pytest.mark.parametrize("combination", ALL)
def test_every_variable_is_a_setting_that_its_process_knows(combination: str) -> None:
    for name, spec in pod_specs(documents(ALL[combination])).items():
        unknown = [one for one in env_of(spec) if not is_setting(one)]
        assert not unknown, f"{name}: {unknown}"


def test_a_setting_that_nobody_knows_is_noticed() -> None:
    assert not is_setting("ANTIPHON_ASR_SLOTTS") and not is_setting("ANTIPHON_ORCHESTRATOR_ASRR")
    assert not is_setting("ANTIPHON_LLM_OPENAI__BASEURL")


def selected(selector: dict[str, str], labels: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, has in labels.items() if selector.items() <= has.items()}


@pytest.mark.parametrize("combination", ALL)
def test_selectors_pick_the_pods_of_one_component_and_ports_are_theirs(combination: str) -> None:
    docs = documents(ALL[combination])
    labels, specs = pod_labels(docs), pod_specs(docs)
    for kind in ("Service", "Deployment", "PodDisruptionBudget"):
        for name, doc in of_kind(docs, kind).items():
            selector = doc["spec"]["selector"]
            picked = selected(selector.get("matchLabels", selector), labels)
            assert picked == {f"Deployment/{name}"}, (kind, name)
            if kind == "Service":
                ports = {port["name"] for c in specs[f"Deployment/{name}"]["containers"] for port in c["ports"]}
                assert {port["targetPort"] for port in doc["spec"]["ports"]} <= ports
    for name, doc in of_kind(docs, "HorizontalPodAutoscaler").items():
        assert doc["spec"]["scaleTargetRef"]["name"] == name
    for doc in of_kind(docs, "Ingress").values():
        backend = doc["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in {
            p["name"] for p in of_kind(docs, "Service")[backend["name"]]["spec"]["ports"]
        }


@pytest.mark.parametrize("combination", ALL)
def test_probes_ask_a_port_that_the_process_serves_for_a_name_that_it_knows(combination: str) -> None:
    for name, spec in pod_specs(documents(ALL[combination])).items():
        env = env_of(spec)
        for container in spec["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            component = name.rpartition("-")[2]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                how = container.get(probe, {})
                if asked := how.get("grpc"):
                    assert env[f"ANTIPHON_{component.upper()}_HEALTH_BIND"] == f"0.0.0.0:{asked['port']}"
                    proto = (ROOT / f"proto/antiphon/{component}/v1/{component}.proto").read_text()
                    (service,) = re.findall(r"^service (\w+)", proto, re.MULTILINE)
                    assert asked["service"] in ("liveness", f"antiphon.{component}.v1.{service}")
                elif asked := how.get("httpGet") or how.get("tcpSocket"):
                    assert asked["port"] in ports


def edges(docs: list[Document]) -> set[tuple[str, str, int]]:
    """Who is let to whom and at which port, by both sides' policies."""
    labels = pod_labels(docs)
    out, into = set(), set()
    for policy in of_kind(docs, "NetworkPolicy").values():
        mine = selected(policy["spec"]["podSelector"].get("matchLabels", {}), labels)
        for direction, other, found in (("egress", "to", out), ("ingress", "from", into)):
            for rule in policy["spec"].get(direction, []):
                for peer in rule.get(other, []):
                    if "podSelector" not in peer:
                        continue
                    theirs = selected(peer["podSelector"]["matchLabels"], labels)
                    for port in rule["ports"]:
                        found |= {
                            (a, b, port["port"]) if direction == "egress" else (b, a, port["port"])
                            for a in mine
                            for b in theirs
                        }
        if any("from" not in rule for rule in policy["spec"].get("ingress", [])):
            open_to = {
                port["port"] for rule in policy["spec"]["ingress"] if "from" not in rule for port in rule["ports"]
            }
            into |= {(a, b, port) for a in labels for b in mine for port in open_to}
    return out & into


@pytest.mark.parametrize("combination", ALL)
def test_the_network_lets_through_every_call_that_the_code_makes_and_denies_the_rest(combination: str) -> None:
    docs = documents(ALL[combination])
    specs, allowed = pod_specs(docs), edges(docs)
    orchestrator = env_of(specs["Deployment/antiphon-orchestrator"])
    needed = set()
    for name in SERVICES:
        host, _, port = orchestrator[f"ANTIPHON_ORCHESTRATOR_{name.upper()}"].rpartition(":")
        assert host == f"antiphon-{name}"
        needed.add(("Deployment/antiphon-orchestrator", f"Deployment/{host}", int(port)))
    if url := env_of(specs["Deployment/antiphon-llm"]).get("ANTIPHON_LLM_OPENAI__BASE_URL"):
        host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        needed.add(("Deployment/antiphon-llm", f"Deployment/{host}", int(port)))
    test = "Pod/antiphon-test-call"
    needed |= {(test, f"Deployment/antiphon-{name}", 50050) for name in SERVICES}
    callers = [test, *(name for name in specs if name.endswith("-canary"))]
    needed |= {(caller, "Deployment/antiphon-orchestrator", 7860) for caller in callers}
    assert needed <= allowed
    # coturn and the orchestrator send media to each other, on ports that are chosen as they go.
    assert {edge for edge in allowed - needed if "coturn" not in edge[0] + edge[1]} == set()


def test_everything_is_denied_first() -> None:
    deny = of_kind(documents(preset_values("stub")), "NetworkPolicy")["antiphon-default-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in deny
    assert deny["egress"] == [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]


def test_autoscalers_go_by_gauges_that_exist() -> None:
    for doc in of_kind(documents(preset_values("prod")), "HorizontalPodAutoscaler").values():
        (metric,) = doc["spec"]["metrics"]
        assert f"| `{metric['pods']['metric']['name']}` | gauge |" in METRICS


def test_a_chart_without_a_metric_to_scale_by_says_so() -> None:
    with pytest.raises(Exception, match=r"services.vllm.autoscaling.metric is empty"):
        documents({"services": {"vllm": {"enabled": True, "autoscaling": {"enabled": True}}}})


def build_names() -> set[str]:
    """The images that deploy/images/build.sh builds."""
    kinds = {f"{service}-{variant}" for service in SERVICES for variant in ("stub", "cpu", "gpu")}
    return {f"antiphon/{name}" for name in kinds | {"orchestrator", "caller"}}


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_every_image_of_ours_is_one_that_is_built(combination: str) -> None:
    images = {
        container["image"].rpartition(":")[0]
        for spec in pod_specs(documents(ALL[combination])).values()
        for container in (*spec.get("initContainers", []), *spec["containers"])
    }
    assert {image for image in images if image.startswith("antiphon/")} <= build_names()
    assert images - build_names() <= {"vllm/vllm-openai"}


def compose_files() -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        pass

    for tag in ("!reset", "!override"):
        Loader.add_constructor(tag, lambda loader, node: loader.construct_mapping(node, deep=True))
    files = [ROOT / "compose.yaml", *sorted((ROOT / "deploy/compose").glob("*.yaml"))]
    return {file.name: yaml.load(file.read_text(), Loader) for file in files}  # of ours


@pytest.mark.parametrize("name", list(compose_files()))
def test_compose_sets_what_processes_know_and_runs_what_is_built(name: str) -> None:
    for service, told in compose_files()[name]["services"].items():
        names = [one for one in told.get("environment", {}) if one.startswith("ANTIPHON_")]
        assert not [one for one in names if not is_setting(one)], service
        image = told.get("image", "")
        if image.startswith("${REGISTRY:-antiphon}"):
            assert image.replace("${REGISTRY:-antiphon}", "antiphon").partition(":")[0] in build_names()
            args = told.get("build", {}).get("args", {})
            if args:
                assert (ROOT / f"requirements/images/{args['LOCK']}.txt").is_file()


@pytest.mark.parametrize(
    ("where", "recipe"),
    [("preset gpu", "bf16-1"), ("preset single-gpu", "nvfp4-1"), ("compose single-gpu", "nvfp4-1")],
)
def test_vllms_flags_are_those_of_its_recipe(where: str, recipe: str) -> None:
    command = ["antiphon-llm-vllm-flags", recipe]
    flags = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2:]
    kind, name = where.split()
    if kind == "preset":
        told = yaml.safe_load((CHART / f"presets/{name}.yaml").read_text())["services"]["vllm"]["args"]
    else:
        told = compose_files()[f"{name}.yaml"]["services"]["vllm"]["command"]
    assert [str(one) for one in told] == flags
