"""Tests of the backend `magpie` on random-weight checkpoints of two layers; skipped where NeMo is not installed."""

import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

HAS_NEMO = bool(importlib.util.find_spec("torch"))
# Without NeMo these cannot even be imported. `make test` says so when it cannot install it.
collect_ignore = (
    []
    if HAS_NEMO
    else ["test_engine.py", "test_model.py", "test_one_at_a_time.py", "test_service.py", "test_vocoder.py"]
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a causal codec."""
    from antiphon_tts.backends.magpie.random_checkpoint import make

    path = tmp_path_factory.mktemp("causal") / "tiny.nemo"
    make(path)
    return path


@pytest.fixture(scope="session")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a codec that looks ahead, and two frames a step."""
    from antiphon_tts.backends.magpie.random_checkpoint import make

    path = tmp_path_factory.mktemp("ahead") / "ahead.nemo"
    make(path, look_ahead=True, stacked=2)
    return path


def _loaded(path: Path) -> Any:
    import torch
    from speaking import settings

    from antiphon_tts.backends.magpie.loading import load_magpie

    torch.set_num_threads(1)  # more of them stall on two busy cores
    return load_magpie(settings(path), torch.device("cpu"))


@pytest.fixture(scope="session")
def magpie(tiny: Path) -> Any:
    """NeMo's model of the causal checkpoint."""
    return _loaded(tiny)


@pytest.fixture(scope="session")
def magpie_ahead(ahead: Path) -> Any:
    """NeMo's model of the other one."""
    return _loaded(ahead)


@pytest.fixture
def nemo_options(magpie: Any) -> Iterator[Any]:
    """The model's inference parameters, to be changed for a test."""
    from copy import deepcopy

    before = deepcopy(magpie.inference_parameters)
    yield magpie.inference_parameters
    magpie.inference_parameters.__dict__.update(before.__dict__)


@pytest.fixture
async def served(tiny: Path, monkeypatch: pytest.MonkeyPatch, serve: Any) -> AsyncIterator[Any]:
    """The service on the causal checkpoint, with four slots."""
    monkeypatch.setenv("ANTIPHON_TTS_MAGPIE__MODEL", str(tiny))
    monkeypatch.setenv("ANTIPHON_TTS_MAGPIE__FRAMES_PER_TOKEN", "0.5")
    monkeypatch.setenv("ANTIPHON_TTS_MAGPIE__NORMALIZE", "false")
    async with serve("magpie", slots=4) as tts:
        yield tts
