"""Tests of the backend `nemo` on a random-weight checkpoint of two layers; skipped where NeMo is not installed."""

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

# Not "nemo": this folder is called so too.
HAS_NEMO = bool(importlib.util.find_spec("torch"))
# Without NeMo nothing here can even be imported. `make test` says so when it cannot install it.
collect_ignore_glob = [] if HAS_NEMO else ["test_*.py"]

if HAS_NEMO:
    from antiphon_asr.backends.nemo.loading import streaming_model
    from antiphon_asr.backends.nemo.settings import NemoSettings


@pytest.fixture(scope="session")
def model(tiny: Path) -> Any:
    """The tiny checkpoint, ready to be stepped."""
    import torch

    torch.set_num_threads(1)  # more of them stall on two busy cores
    return streaming_model(NemoSettings(model=str(tiny)), torch.device("cpu"))


@pytest.fixture
async def served(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The service on the tiny checkpoint, with four slots."""
    from asr_caller import asr

    monkeypatch.setenv("ANTIPHON_ASR_NEMO__MODEL", str(tiny))
    async with asr(backend="nemo", slots=4) as service:
        yield service
