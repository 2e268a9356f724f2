"""The instruments of Antiphon: a caller, the analysis of a recording, and their reports."""

from importlib.resources import files
from pathlib import Path

from .call import Call, CallTurn, Stage
from .caller import place_call
from .recording import Result, Turn, measure

__all__ = ["Call", "CallTurn", "Result", "Stage", "Turn", "measure", "place_call", "questions"]


def questions() -> list[Path]:
    """The three spoken questions that come with the package, in the order they are to be asked."""
    folder = Path(str(files(__name__))) / "questions"
    return sorted(folder.glob("*.wav"))
