"""What agents can do besides talking. Each is a Pipecat direct function: its docstring is what the model reads."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipecat.services.llm_service import FunctionCallParams


@dataclass(frozen=True, slots=True)
class Resources:
    """What tools may use, one for each session."""

    knowledge: tuple[str, ...] = ()
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


def read_knowledge(path: Path | None) -> tuple[str, ...]:
    """The file's paragraphs."""
    text = path.read_text() if path else ""
    return tuple(part.strip() for part in re.split(r"\n\s*\n", text) if part.strip())


async def get_time(params: FunctionCallParams) -> None:
    """Get the current time of day and date."""
    now = params.app_resources.clock()
    await params.result_callback({"time": now.strftime("%H:%M"), "date": now.strftime("%A, %B %d %Y"), "zone": "UTC"})


async def look_up(params: FunctionCallParams, query: str) -> None:
    """Look something up in the knowledge base.

    Args:
        query: What to look for, in a few words.
    """
    words = set(re.findall(r"\w+", query.lower()))
    found = best_match(words, params.app_resources.knowledge)
    await params.result_callback({"found": found} if found else {"error": "nothing found"})


def best_match(words: set[str], paragraphs: tuple[str, ...]) -> str | None:
    """The paragraph that shares most words with the query, None when none shares any."""
    scored = [(len(words & set(re.findall(r"\w+", text.lower()))), text) for text in paragraphs]
    score, text = max(scored, key=lambda pair: pair[0], default=(0, ""))
    return text if score else None


TOOLS: dict[str, Callable[..., Any]] = {"get_time": get_time, "look_up": look_up}
