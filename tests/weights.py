"""For tests of the real recognizer, whose weights `antiphon models fetch` brings."""

import os
from pathlib import Path

import pytest

from antiphon_asr.weights import WEIGHTS
from antiphon_runtime.weights import DEFAULT_DIR, missing


def _are_here() -> bool:
    folder = Path(os.environ.get("ANTIPHON_MODELS_DIR", DEFAULT_DIR))
    return not any(missing(folder, package) for package in WEIGHTS)


needs_weights = pytest.mark.skipif(not _are_here(), reason="needs: antiphon models fetch")
