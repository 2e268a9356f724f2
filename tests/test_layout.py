"""The architecture, held by a test: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = ("asr", "tts", "llm", "turn")
# What only a backend may import, because only its container has it.
MODEL_LIBRARIES = {
    "onnxruntime",
    "hibari",
    "xllamacpp",
    "gguf",
    "nemo",
    "nemo_text_processing",
    "torch",
    "omegaconf",
    "sentencepiece",
    "vllm",
    "soxr",
}
# Who may import what of ours; everything may import the generated `antiphon`.
ALLOWED = {
    "antiphon_runtime": set(),
    **{f"antiphon_{name}": {"antiphon_runtime"} for name in SERVICES},
    "antiphon_orchestrator": {"antiphon_runtime"},
    "antiphon_bench": {"antiphon_runtime"},
}
# The bench of turn-taking replays the orchestrator's own rules, which import nothing but their words.
REPLAYED = {
    ("turns/scoring.py", "antiphon_orchestrator.turns.policy"),
    ("turns/answering.py", "antiphon_orchestrator.turns.speculation"),
    ("turns/overlaps.py", "antiphon_orchestrator.turns.barge_in"),
    ("turns/bench.py", "antiphon_orchestrator.turns.barge_in"),
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
    # Not `**`: the virtual environments are large.
    return sorted(path for depth in ("*", "*/*") for path in ROOT.glob(f"{depth}/src/antiphon_*") if path.is_dir())


def test_every_distribution_is_looked_at() -> None:
    assert {path.name for path in sources()} == {*ALLOWED, "antiphon_cli"}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_distribution_imports_only_what_stands_above_it(package: str) -> None:
    source = next(path for path in sources() if path.name == package)
    ours = {
        (path.name, module.partition(".")[0])
        for path, module in imports(source)
        if module.startswith("antiphon_") and (path.relative_to(source).as_posix(), module) not in REPLAYED
    }
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


def test_torch_is_imported_by_its_backends_alone_and_installed_on_no_laptop() -> None:
    importers = {
        "/".join((source.name, *path.relative_to(source).parts[:2]))
        for source in sources()
        for path, module in imports(source)
        if module.partition(".")[0] == "torch"
    }
    assert importers == {"antiphon_asr/backends/nemo", "antiphon_tts/backends/magpie"}
    pinned = (ROOT / "requirements" / "laptop.txt").read_text().splitlines()
    assert pinned
    assert not [line for line in pinned if line.startswith(("torch==", "torch ", "nvidia-"))]


# The library of each backend, and the only backend that may import it.
OWNERS = {
    "asr": {
        "onnxruntime": "moonshine",
        **dict.fromkeys(("torch", "nemo", "omegaconf", "sentencepiece"), "nemo"),
    },
    "tts": {
        "hibari": "hibari",
        "onnxruntime": "hibari",
        **dict.fromkeys(("torch", "nemo", "omegaconf", "nemo_text_processing"), "magpie"),
    },
    "llm": {"jinja2": "llamacpp", "gguf": "llamacpp", "vllm": "vllm"},
    "turn": {"onnxruntime": "smart_turn", "pipecat": "smart_turn"},
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_models_library_is_imported_by_its_own_backend_alone(service: str) -> None:
    source = next(path for path in sources() if path.name == f"antiphon_{service}")
    importers = {
        (path.relative_to(source / "backends").parts[0].removesuffix(".py"), library)
        for path, module in imports(source)
        if (library := module.partition(".")[0]) in OWNERS[service]
    }
    assert importers == {(backend, library) for library, backend in OWNERS[service].items()}


@pytest.mark.parametrize(
    "modules",
    [
        "antiphon_asr.__main__ antiphon_asr.backends.stub antiphon_asr.backends.moonshine antiphon_asr.backends.nemo",
        "antiphon_tts.__main__ antiphon_tts.backends.stub antiphon_tts.backends.hibari antiphon_tts.backends.magpie",
        "antiphon_llm.__main__ antiphon_llm.backends.stub antiphon_llm.backends.llamacpp.engine xllamacpp",
        "antiphon_turn.__main__ antiphon_turn.backends.stub antiphon_turn.backends.smart_turn",
        "antiphon_orchestrator.__main__ antiphon_orchestrator.services.local_turn",
        "antiphon_cli.command",
    ],
    ids=lambda modules: modules.partition(".")[0],
)
def test_no_process_loads_torch(modules: str) -> None:
    program = f"import sys, {', '.join(modules.split())}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[-1] == "False"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_on_its_stub_needs_no_models_library(service: str) -> None:
    module = f"antiphon_{service}.__main__, antiphon_{service}.backends.stub"
    program = f"import sys, {module}; print(sorted(set({sorted(MODEL_LIBRARIES)}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[-1] == "[]"
