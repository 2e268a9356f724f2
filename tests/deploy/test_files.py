"""The files that are generated are fresh, and Dockerfiles and scripts are in order."""

import re
import shutil
import subprocess
from pathlib import Path

import build
import pytest
import yaml
from charts import CHART, documents, of_kind
from k120 import API_VERSIONS, PROBES, converted
from test_objects import ALL

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted([*ROOT.glob("services/*/Dockerfile"), ROOT / "orchestrator/Dockerfile", ROOT / "cli/Dockerfile"])
OVERLAYS = ("stub", "cpu", "gpu")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_deploy_k8s_is_what_the_chart_renders_to() -> None:
    there = {str(path.relative_to(ROOT / "deploy/k8s")): path.read_text() for path in ROOT.glob("deploy/k8s/**/*.yaml")}
    assert there == build.rendered(), "stale: make chart"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_builds_an_overlay_of_all_that_the_preset_has(overlay: str) -> None:
    built = run("kubectl", "kustomize", f"deploy/k8s/overlays/{overlay}")
    assert built.count("\nkind: ") == len(documents(ALL[overlay])) - 1  # but for helm test's pod
    assert "Helm" not in built


def test_the_table_of_parameters_is_what_the_values_say(tmp_path: Path) -> None:
    generator = ROOT / ".venv-deploy/npm/node_modules/.bin/readme-generator"
    if not generator.is_file():
        pytest.skip("there is no npm here")
    fresh = tmp_path / "README.md"
    shutil.copy(CHART / "README.md", fresh)
    run(str(generator), "--values", str(CHART / "values.yaml"), "--readme", str(fresh))
    assert (CHART / "README.md").read_text() == fresh.read_text(), "stale: make chart"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_a_dockerfile_is_in_order(file: Path) -> None:
    run("hadolint", str(file))
    text = file.read_text()
    first, last = text.split("\n\n# hadolint ignore=DL3006\n")
    assert re.search(r"^ARG BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}$", first, re.MULTILINE)
    assert text.count("--require-hashes") == 2
    assert "\nUSER 10001:10001\n" in last and "pip" not in last
    assert ("HEALTHCHECK" in last) == (file.parent.name != "cli")


@pytest.mark.parametrize("file", sorted(ROOT.glob("requirements/images/*.txt")), ids=lambda file: file.stem)
def test_every_dependency_of_an_image_is_pinned_by_hashes(file: Path) -> None:
    if file.stem.endswith("-without"):
        return
    pins = [line for line in file.read_text().splitlines() if line and not line.startswith((" ", "#"))]
    assert pins and all("==" in line and line.endswith("\\") for line in pins)
    assert "://" not in file.read_text()


def test_build_sh_refuses_an_image_that_there_is_not() -> None:
    done = subprocess.run(["deploy/images/build.sh", "asr-tpu"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2 and "there are asr, tts, llm and turn" in done.stderr


def test_a_kubernetes_without_grpc_probes_gets_the_same_but_for_two_api_versions_and_the_probes() -> None:
    for values in ALL.values():
        for document in documents(values):
            old = converted(document)
            allowed = API_VERSIONS.get((document["apiVersion"], document["kind"]), document["apiVersion"])
            assert old.pop("apiVersion") == allowed
            document.pop("apiVersion")
            for one in (old, document):
                containers = one.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
                for probe in PROBES:
                    for container in containers:
                        if "grpc" in container.get(probe, {}) or "exec" in container.get(probe, {}):
                            del container[probe]
            assert old == document


def test_the_rules_and_alerts_of_the_chart_are_those_that_are_tested(tmp_path: Path) -> None:
    (rule,) = of_kind(documents(ALL["everything"]), "PrometheusRule").values()
    tested = [
        yaml.safe_load((ROOT / f"deploy/prometheus/{name}.yml").read_text())["groups"] for name in ("rules", "alerts")
    ]
    assert rule["spec"]["groups"] == [group for groups in tested for group in groups]
    if not shutil.which("promtool"):
        pytest.skip("Debian's prometheus is not installed")
    (file := tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
    run("promtool", "check", "rules", str(file))


def test_the_boards_of_the_chart_are_those_that_are_tested() -> None:
    boards = {name: doc["data"] for name, doc in of_kind(documents(ALL["everything"]), "ConfigMap").items()}
    for file in ROOT.glob("deploy/grafana/dashboards/*.json"):
        assert boards[f"antiphon-board-{file.stem}"] == {f"antiphon-{file.name}": file.read_text()}
