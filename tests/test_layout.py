"""The architecture, held by a test: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = ("asr", "tts", "llm", "turn")
# What only a backend may import, because only its container has it.
MODEL_LIBRARIES = {"onnxruntime", "hibari", "xllamacpp", "nemo", "torch", "vllm", "soxr"}
# Who may import what of ours; everything may import the generated `antiphon`.
ALLOWED = {
    "antiphon_runtime": set(),
    **{f"antiphon_{name}": {"antiphon_runtime"} for name in SERVICES},
    "antiphon_orchestrator": {"antiphon_runtime"},
    "antiphon_bench": {"antiphon_runtime"},
}


def imports(package: Path) -> Iterator[tuple[Path, str]]:
    """Each file of the package with each absolute module that it imports, wherever in the file."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module


def sources() -> list[Path]:
    return sorted(path for path in ROOT.glob("**/src/antiphon_*") if ".venv" not in path.parts and path.is_dir())


def test_every_distribution_is_looked_at() -> None:
    assert {path.name for path in sources()} == {*ALLOWED, "antiphon_cli"}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_distribution_imports_only_what_stands_above_it(package: str) -> None:
    source = next(path for path in sources() if path.name == package)
    ours = {(path.name, module.partition(".")[0]) for path, module in imports(source) if module.startswith("antiphon_")}
    assert {module for _, module in ours} - {package} <= ALLOWED[package], ours


def test_the_runtime_knows_no_service_of_the_protocol() -> None:
    source = next(path for path in sources() if path.name == "antiphon_runtime")
    wire = {module for _, module in imports(source) if module.startswith("antiphon.")}
    assert wire <= {"antiphon.common.v1"}


@pytest.mark.parametrize("service", SERVICES)
def test_only_a_backend_imports_a_models_library(service: str) -> None:
    source = next(path for path in sources() if path.name == f"antiphon_{service}")
    outside = {
        (path.relative_to(source).as_posix(), module)
        for path, module in imports(source)
        if module.partition(".")[0] in MODEL_LIBRARIES and "backends" not in path.parts
    }
    assert not outside


def test_torch_is_imported_nowhere_and_installed_by_nothing() -> None:
    assert not [(path, module) for source in sources() for path, module in imports(source) if module == "torch"]
    pinned = (ROOT / "requirements" / "laptop.txt").read_text().splitlines()
    assert pinned
    assert not [line for line in pinned if line.startswith(("torch==", "torch ", "nvidia-"))]
