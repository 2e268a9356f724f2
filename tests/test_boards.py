"""The boards and rules as they are committed: fresh, within the SDK's schema, and of metrics that exist."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from real_prometheus import RULES, needs_prometheus

from antiphon_cli.telemetry import processes, series_name

ROOT = Path(__file__).parents[1]
GRAFANA = ROOT / "deploy/grafana"
NAMES = ("latency", "capacity", "call")


@pytest.fixture(scope="module")
def build() -> Iterator[ModuleType]:
    sys.path.insert(0, str(GRAFANA))
    spec = importlib.util.spec_from_file_location("build", GRAFANA / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(GRAFANA))


def board(name: str) -> dict[str, Any]:
    return dict(json.loads((GRAFANA / f"dashboards/{name}.json").read_text()))


def known_to_the_schema(content: dict[str, Any]) -> dict[str, Any]:
    """What of a board the SDK reads, written again."""
    return dict(json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content))))


def test_the_boards_are_what_the_code_builds(build: ModuleType) -> None:
    committed = {name: (GRAFANA / f"dashboards/{name}.json").read_text() for name in NAMES}
    assert committed == build.rendered(), "stale: make dashboards"


@pytest.mark.parametrize("name", NAMES)
def test_a_board_has_no_field_that_the_schema_does_not_know(name: str) -> None:
    assert known_to_the_schema(board(name)) == board(name)


def test_a_field_that_the_schema_does_not_know_is_noticed() -> None:
    mistyped = board("latency")
    mistyped["panels"][1]["titel"] = "p50"
    assert known_to_the_schema(mistyped) != mistyped


def queries(part: Any) -> Iterator[str]:
    """Every PromQL in a board."""
    if isinstance(part, dict):
        if isinstance(part.get("expr"), str):
            yield part["expr"]
        part = list(part.values())
    for one in part if isinstance(part, list) else ():
        yield from queries(one)


def expressions() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        yield from ((name, query) for query in queries(board(name)))
    for file in ("rules.yml", "alerts.yml"):
        for group in yaml.safe_load((RULES / file).read_text())["groups"]:
            yield from ((file, rule["expr"]) for rule in group["rules"])


def test_every_metric_of_a_board_or_rule_exists() -> None:
    families = [family for process in processes() for family in process.families]
    series = {series_name(family) for family in families}
    series |= {f"{family.name}_{part}" for family in families if family.type == "histogram" for part in PARTS}
    recorded = {
        rule["record"]
        for group in yaml.safe_load((RULES / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    used = {(file, name) for file, text in expressions() for name in re.findall(r"antiphon[:_]\w[\w:]*", text)}
    assert len(used) > 60
    unknown = {(file, name) for file, name in used if name not in series | recorded}
    assert not unknown


PARTS = ("bucket", "sum", "count")


def test_every_alert_has_its_paragraph() -> None:
    headings = re.findall(r"^### (\w+)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            anchor = rule["annotations"]["runbook_url"].partition("#")[2]
            assert anchor in {heading.lower() for heading in headings}, rule["alert"]


@needs_prometheus
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "rules.yml", "alerts.yml"],
        ["test", "rules", "rules_test.yml"],
        ["check", "config", "prometheus.yml"],
    ],
    ids=" ".join,
)
def test_promtool_agrees(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((RULES / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            fires = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == rule["alert"]}
            assert fires == {True, False}, rule["alert"]


@needs_prometheus
def test_a_wrong_threshold_is_noticed(tmp_path: Path) -> None:
    for file in RULES.glob("*.yml"):
        (tmp_path / file.name).write_text(file.read_text())
    alerts = tmp_path / "alerts.yml"
    alerts.write_text(alerts.read_text().replace("(14.4 * 0.05)", "(1.44 * 0.05)"))
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "AntiphonTurnsLateFast" in done.stdout + done.stderr
