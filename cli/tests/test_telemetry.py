"""docs/telemetry.md tells what the code measures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from antiphon_asr.backends.nemo.metrics import EngineMetrics as AsrEngineMetrics
from antiphon_asr.metrics import AsrMetrics
from antiphon_bench.canary import CanaryMetrics
from antiphon_cli.telemetry import PAGE, labels, page, processes
from antiphon_llm.metrics import LlmMetrics
from antiphon_orchestrator.metrics import Metrics as OrchestratorMetrics
from antiphon_runtime.metrics import RpcMetrics
from antiphon_tts.backends.magpie.metrics import EngineMetrics as TtsEngineMetrics
from antiphon_tts.metrics import TtsMetrics
from antiphon_turn.metrics import TurnMetrics

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_code_would_write() -> None:
    assert (ROOT / PAGE).read_text() == page(), "stale: make telemetry"


def test_every_metric_is_ours_explained_and_its_labels_have_known_values() -> None:
    for process in processes():
        for family in process.families:
            assert family.name.startswith("antiphon_"), family.name
            assert family.documentation.endswith("."), family.name
            names = {label for sample in family.samples for label in sample.labels} - {"le"}
            told = labels(family)
            assert names <= told.keys() and all(told.values()), family.name


REGISTERED: list[Callable[[CollectorRegistry], object]] = [
    RpcMetrics.register,
    OrchestratorMetrics.register,
    lambda registry: AsrMetrics.register(registry, dict),
    lambda registry: AsrEngineMetrics.register(registry, lambda: 0.0),
    TtsMetrics.register,
    TtsEngineMetrics.register,
    LlmMetrics.register,
    TurnMetrics.register,
    CanaryMetrics.register,
]


@pytest.mark.parametrize("register", REGISTERED)
def test_no_label_is_left_out(register: Callable[[CollectorRegistry], object]) -> None:
    """A series that is not there yet shows no label: these are what the code declares."""
    registry = CollectorRegistry()
    register(registry)
    declared = {
        collector._name: set(collector._labelnames)
        for collector in registry._collector_to_names
        if isinstance(collector, MetricWrapperBase)
    }
    told = {family.name: set(labels(family)) for process in processes() for family in process.families}
    assert {name: told[name] for name in declared} == declared


def test_no_metric_has_two_meanings() -> None:
    names = [family.name for process in processes() for family in process.families]
    assert len(set(names)) == len(names)
