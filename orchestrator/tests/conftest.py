import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the person who runs the tests has set in ANTIPHON_… must not change them, but for where weights are."""
    for name in list(os.environ):
        if name.startswith("ANTIPHON_") and name != "ANTIPHON_MODELS_DIR":
            monkeypatch.delenv(name)
    yield


@pytest.fixture(autouse=True, scope="session")
def quiet_pipecat() -> None:
    """Its DEBUG lines are two hundred a call, and the errors here are wanted."""
    logger.remove()
