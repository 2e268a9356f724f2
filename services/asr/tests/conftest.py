import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon_asr.weights import WEIGHTS
from antiphon_runtime.testing import Served
from antiphon_runtime.weights import DEFAULT_DIR, missing

sys.path.insert(0, str(Path(__file__).parent))

from asr_caller import asr


def moonshine_is_here() -> bool:
    folder = Path(os.environ.get("ANTIPHON_MODELS_DIR", DEFAULT_DIR))
    return bool(importlib.util.find_spec("onnxruntime")) and not any(missing(folder, package) for package in WEIGHTS)


needs_moonshine = [
    pytest.mark.real,
    pytest.mark.skipif(not moonshine_is_here(), reason="needs the extra cpu and: antiphon models fetch"),
]
needs_nemo = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs the extra nemo: make setup-nemo")
BACKENDS = ["stub", pytest.param("moonshine", marks=needs_moonshine), pytest.param("nemo", marks=needs_nemo)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two layers with random weights, for the backend `nemo`."""
    from antiphon_asr.backends.nemo import random_checkpoint

    path = tmp_path_factory.mktemp("checkpoint") / "tiny.nemo"
    random_checkpoint.make(path)
    return path


@pytest.fixture(params=BACKENDS)
async def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    if request.param == "nemo":
        monkeypatch.setenv("ANTIPHON_ASR_NEMO__MODEL", str(request.getfixturevalue("tiny")))
        monkeypatch.setenv("ANTIPHON_ASR_NEMO__MAX_BATCH", "4")
    async with asr(backend=request.param, slots=4) as service:
        yield service
