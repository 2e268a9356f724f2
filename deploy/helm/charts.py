"""The chart as Helm renders it, by Helm's own SDK."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).resolve().with_name("antiphon")
PRESETS = CHART / "presets"
# As they are meant to be given to Helm, each with -f.
COMBINATIONS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "stub": ("stub",),
    "cpu": ("cpu",),
    "gpu": ("gpu",),
    "single-gpu": ("gpu", "single-gpu"),
    "prod": ("gpu", "prod"),
}
RELEASE, NAMESPACE = "antiphon", "voice"
Document = dict[str, Any]


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm merges those of several -f: maps deeply, all else whole."""
    result: dict[str, Any] = {}
    for one in values:
        for key, value in one.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def preset_values(combination: str) -> dict[str, Any]:
    return merged(*(yaml.safe_load((PRESETS / f"{name}.yaml").read_text()) for name in COMBINATIONS[combination]))


def files(values: Mapping[str, Any], *, release: str = RELEASE, namespace: str = NAMESPACE) -> dict[str, str]:
    """What each template renders to. Raises HelmError as `helm template` fails, for a value that is not allowed too."""
    chart = helm_python.Chart.load(str(CHART))
    rendered = chart.render(dict(values), name=release, namespace=namespace)
    return {path.partition("templates/")[2]: text for path, text in rendered.items()}


def documents(values: Mapping[str, Any], **where: str) -> list[Document]:
    """Every object, hooks included."""
    texts = (text for path, text in files(values, **where).items() if not path.endswith(".txt"))
    return [doc for text in texts for doc in yaml.safe_load_all(text) if doc]


def of_kind(docs: list[Document], kind: str) -> dict[str, Document]:
    return {doc["metadata"]["name"]: doc for doc in docs if doc["kind"] == kind}


def pod_specs(docs: list[Document]) -> dict[str, Document]:
    """The pod spec of every workload, by KIND/NAME."""
    found: dict[str, Document] = {}
    for doc in docs:
        spec = doc["spec"] if doc["kind"] == "Pod" else doc.get("spec", {}).get("template", {}).get("spec")
        if spec:
            found[f"{doc['kind']}/{doc['metadata']['name']}"] = spec
    return found


def pod_labels(docs: list[Document]) -> dict[str, dict[str, str]]:
    return {
        f"{doc['kind']}/{doc['metadata']['name']}": (
            doc["metadata"] if doc["kind"] == "Pod" else doc["spec"]["template"]["metadata"]
        )["labels"]
        for doc in docs
        if doc["kind"] in ("Pod", "Deployment")
    }
