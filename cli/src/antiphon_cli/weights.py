"""The weights of every service on this machine."""

import os
from pathlib import Path

from antiphon_asr.weights import WEIGHTS as ASR_WEIGHTS
from antiphon_llm.weights import WEIGHTS as LLM_WEIGHTS
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.weights import DEFAULT_DIR, WeightPackage, missing

ALL: tuple[WeightPackage, ...] = (*ASR_WEIGHTS, *LLM_WEIGHTS)


def models_dir(given: Path | None) -> Path:
    """Where weights are kept: as given, else $ANTIPHON_MODELS_DIR, else the user's cache."""
    chosen = given or os.environ.get("ANTIPHON_MODELS_DIR") or DEFAULT_DIR
    return Path(chosen).expanduser()


def state(folder: Path, package: WeightPackage) -> tuple[bool, str]:
    """Whether a package's files are there and right, and if not why."""
    try:
        absent = missing(folder, package)
    except ConfigError as error:
        return False, str(error)
    return not absent, f"missing: {', '.join(file.path for file in absent)}" if absent else "verified"
