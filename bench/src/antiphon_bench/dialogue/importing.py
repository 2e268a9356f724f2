"""The public benchmark `aiwf_medium_context` (github.com/kwindla/aiewf-eval), from a checkout on this machine.

Its turns say `input`, `golden_text`, `required_function_call` {name, args} and `function_call_response`. A folder is
read that has them in `turns.json`, or in `turns.py` as `turns`, which is run; beside it `tools.json` and, as `*.txt`,
what the agent knows.
"""

import json
import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BadScript
from .rules import NUMBER
from .script import Scripted


def imported(folder: Path) -> tuple[tuple[Scripted, ...], tuple[dict[str, Any], ...], str]:
    """Turns, tools and knowledge. Raises BadScript when the folder has them not, or in another form."""
    try:
        turns = _turns(folder)
        tools = tuple(json.loads((folder / "tools.json").read_text())) if (folder / "tools.json").is_file() else ()
        texts = [path.read_text() for path in sorted(folder.rglob("*.txt"))]
        return tuple(_scripted(turn) for turn in turns), tools, "\n\n".join(texts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadScript(f"{folder} is no benchmark that can be imported: {error!r}") from error


def _turns(folder: Path) -> Sequence[dict[str, Any]]:
    if (folder / "turns.json").is_file():
        data = json.loads((folder / "turns.json").read_text())
        turns = data["turns"] if isinstance(data, dict) else data
    else:
        turns = runpy.run_path(str(folder / "turns.py"))["turns"]
    if not turns:
        raise ValueError("it has no turns")
    return list(turns)


def _scripted(turn: dict[str, Any]) -> Scripted:
    """Without rules of its own a turn must say the numbers of its golden answer."""
    calls = turn.get("required_function_call") or {}
    call = calls[0] if isinstance(calls, list) else calls
    facts = [rf"(?<!\d){re.escape(number)}(?!\d)" for number in NUMBER.findall(str(turn.get("golden_text") or ""))]
    return Scripted(
        line=str(turn["input"]),
        call=str(call.get("name", "")),
        arguments=call.get("args") or {},
        result=turn.get("function_call_response"),
        facts=tuple(facts),
    )
