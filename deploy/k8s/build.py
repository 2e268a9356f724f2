"""Renders the chart into deploy/k8s, for clusters without Helm: `make chart`.

`base` holds the objects that every preset has alike, each overlay what it has of its own.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "helm"))

from charts import documents, preset_values  # noqa: E402

OVERLAYS = ("stub", "cpu", "gpu")
NAMESPACE = "voice"
HEADER = "# Written by `make chart` from deploy/helm/antiphon; a test fails when it is stale.\n"
Document = dict[str, Any]


def _of_kustomize(part: Any) -> Any:
    """The same without what is Helm's: its namespace comes from the kustomization, its label is another tool's."""
    if isinstance(part, dict):
        return {key: "kustomize" if (key, value) == MANAGED else _of_kustomize(value) for key, value in part.items()}
    return [_of_kustomize(one) for one in part] if isinstance(part, list) else part


MANAGED = ("app.kubernetes.io/managed-by", "Helm")


def _objects(preset: str) -> list[Document]:
    """Those of a preset, without Helm's own test."""
    docs = documents(preset_values(preset), namespace=NAMESPACE)
    return [_of_kustomize(doc) for doc in docs if "helm.sh/hook" not in doc["metadata"].get("annotations", {})]


def _written(docs: list[Document]) -> str:
    ordered = sorted(docs, key=lambda doc: (doc["kind"], doc["metadata"]["name"]))
    return HEADER + yaml.safe_dump_all(ordered, sort_keys=False, width=120)


def _kustomization(*resources: str, **more: Any) -> str:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return HEADER + yaml.safe_dump({**head, **more, "resources": list(resources)}, sort_keys=False)


def rendered() -> dict[str, str]:
    """Every file of deploy/k8s by its path."""
    presets = {name: _objects(name) for name in OVERLAYS}
    common = [doc for doc in presets["stub"] if all(doc in docs for docs in presets.values())]
    files = {"base/platform.yaml": _written(common), "base/kustomization.yaml": _kustomization("platform.yaml")}
    for name, docs in presets.items():
        folder = f"overlays/{name}"
        files[f"{folder}/platform.yaml"] = _written([doc for doc in docs if doc not in common])
        files[f"{folder}/kustomization.yaml"] = _kustomization("../../base", "platform.yaml", namespace=NAMESPACE)
    return files


def main() -> None:
    for path, text in rendered().items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(text)
    print("wrote deploy/k8s")


if __name__ == "__main__":
    main()
