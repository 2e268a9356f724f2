"""How an answer is scored: three questions, each yes or no, by rules that anybody can read.

tool use: exactly the calls that are due, with the arguments that are due. instruction following: words that can be
spoken, not too many, that show what was asked for and nothing that must not be said. grounding: the facts that are due,
and no number that neither the knowledge nor the conversation has.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .script import Scripted

MOST_WORDS = 60
UNSPEAKABLE = re.compile(r"[*#|`_]{1,}|^\s*[-•]\s|^\s*\d+\.\s|https?://", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:[:.]\d+)?")


@dataclass(frozen=True, slots=True)
class Score:
    tool_use: bool
    instruction: bool
    grounding: bool

    @property
    def passed(self) -> bool:
        return self.tool_use and self.instruction and self.grounding

    def to_json(self) -> dict[str, bool]:
        return asdict(self) | {"passed": self.passed}


FAILED = Score(False, False, False)


def score(due: Scripted, answer: str, calls: Sequence[tuple[str, str]], known: str) -> Score:
    """`calls` are names and argument JSON; `known` is all that the agent could have read or heard."""
    return Score(
        tool_use=_called(due, calls),
        instruction=_speakable(answer)
        and all(re.search(pattern, answer, re.IGNORECASE) for pattern in due.must)
        and not any(re.search(pattern, answer, re.IGNORECASE) for pattern in due.never),
        grounding=all(re.search(pattern, answer, re.IGNORECASE) for pattern in due.facts) and _grounded(answer, known),
    )


def _called(due: Scripted, calls: Sequence[tuple[str, str]]) -> bool:
    if not due.call:
        return not calls
    if [name for name, _ in calls] != [due.call]:
        return False
    try:
        made = json.loads(calls[0][1])
    except ValueError:
        return False
    return isinstance(made, dict) and all(_same(made.get(name), value) for name, value in (due.arguments or {}).items())


def _same(made: Any, due: Any) -> bool:
    """What is due may be part of a longer text: "gluten" of "no gluten"."""
    if isinstance(due, str):
        return _plain(due) in _plain(str(made))
    return str(made) == str(due)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9@.]+", text.lower()))


def _speakable(answer: str) -> bool:
    words = answer.split()
    return 0 < len(words) <= MOST_WORDS and not UNSPEAKABLE.search(answer)


def _grounded(answer: str, known: str) -> bool:
    heard = set(NUMBER.findall(known))
    return all(number in heard for number in NUMBER.findall(answer))


def shares(scores: Sequence[Score]) -> Mapping[str, float]:
    """Of all turns, those with each score; a turn that was not answered has none."""
    names = ("tool_use", "instruction", "grounding", "passed")
    return {name: sum(getattr(one, name) for one in scores) / len(scores) for name in names}
