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
BACKENDS = ["stub", pytest.param("moonshine", marks=needs_moonshine)]


@pytest.fixture(params=BACKENDS)
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with asr(backend=request.param, slots=4) as service:
        yield service
