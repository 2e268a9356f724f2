"""The instruments of Antiphon: a caller, the analysis of a recording, word error rates, and their reports."""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .call import Call, CallTurn, Stage
    from .caller import place_call
    from .recording import Result, Turn, measure

__all__ = ["Call", "CallTurn", "Result", "Stage", "Turn", "measure", "place_call", "questions"]

_HOMES = {
    **dict.fromkeys(("Call", "CallTurn", "Stage"), ".call"),
    "place_call": ".caller",
    **dict.fromkeys(("Result", "Turn", "measure"), ".recording"),
}


def __getattr__(name: str) -> object:
    # Only when asked for: the caller needs Pipecat, and some instruments run where it is not installed.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def questions() -> list[Path]:
    """The three spoken questions that come with the package, in the order they are to be asked."""
    folder = Path(str(files(__name__))) / "questions"
    return sorted(folder.glob("*.wav"))
