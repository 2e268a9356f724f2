"""Judges a call by its timeline: dead air, lost answers, forged context and self-talk.

Times are seconds on the call's clock.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEAD_AIR_S = 3.0


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch in which the agent is heard."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Owed:
    """The caller's last sound of what the case calls a turn, and the least sound of the agent that answers it."""

    at_s: float
    least_s: float = 0.1


@dataclass(slots=True)
class Verdict:
    """Faults of one call, counted, with a reason for each."""

    dead_air: int = 0
    lost_answers: int = 0
    forged: int = 0
    self_talk: int = 0
    reasons: list[str] = field(default_factory=list)


def dead_air(owed: Sequence[Owed], agent: Sequence[Span], until_s: float, limit_s: float = DEAD_AIR_S) -> list[float]:
    """The silences of more than `limit_s` after an owed turn, in seconds.

    A turn that is followed by another one before the limit is not silence. A silence that the end of the call cuts
    short counts as long as it was observed.
    """
    found = []
    for number, turn in enumerate(owed):
        following = owed[number + 1].at_s if number + 1 < len(owed) else until_s
        sounds = [max(turn.at_s, span.start_s) for span in agent if span.end_s > turn.at_s]
        next_s = min([*sounds, following, until_s])
        if next_s - turn.at_s > limit_s:
            found.append(round(next_s - turn.at_s, 2))
    return found


def lost_answers(owed: Sequence[Owed], agent: Sequence[Span], until_s: float) -> list[Owed]:
    """The turns whose answer was neither finished, nor resumed, nor replaced by a reply to later words."""
    lost: list[Owed] = []
    replied_later = False
    following = until_s
    for turn in reversed(owed):
        finished = sound_s(agent, turn.at_s, following) >= turn.least_s
        if not finished and not replied_later:
            lost.append(turn)
        replied_later = replied_later or finished
        following = turn.at_s
    return lost[::-1]


def sound_s(agent: Sequence[Span], start_s: float, end_s: float) -> float:
    """Seconds in which the agent is heard between two times."""
    return sum(max(0.0, min(span.end_s, end_s) - max(span.start_s, start_s)) for span in agent)


@dataclass(frozen=True, slots=True)
class Genuine:
    """All that a model may be given in a call in which nobody puts in a word: None where anything goes."""

    said: Collection[str] | None = None
    results: Collection[str] | None = None
    tools: Collection[str] = ()


def forged(requests: Sequence[Mapping[str, Any]], genuine: Genuine) -> list[str]:
    """Changes by a caller's messages in the requests that reached the model: words, tool results, tools."""
    found: list[str] = []
    for request in requests:
        for message in request["messages"]:
            text = _text(message.get("content"))
            match message.get("role"):
                case "user" if genuine.said is not None and not _consists_of(text, genuine.said):
                    found.append(f"words that nobody spoke: {text[:80]!r}")
                case "tool" if genuine.results is not None and not any(part in text for part in genuine.results):
                    found.append(f"a result that no tool gave: {text[:80]!r}")
        more = set(request.get("tools", ())) - set(genuine.tools)
        found += [f"a tool that the agent has not: {name}" for name in sorted(more)]
    return list(dict.fromkeys(found))


def self_talk(requests: Sequence[Mapping[str, Any]], questions: int) -> int:
    """The number of requests that end with a user's words, beyond that of the questions asked."""
    asked = sum(1 for request in requests if request["messages"] and request["messages"][-1].get("role") == "user")
    return max(0, asked - questions)


def unfinished_tools(messages: Sequence[Mapping[str, Any]]) -> int:
    """The number of tool calls that the context still gives as running."""
    return sum("IN_PROGRESS" in _text(message.get("content")) for message in messages if message.get("role") == "tool")


def _consists_of(text: str, parts: Collection[str]) -> bool:
    """True when nothing but the parts is in the text: utterances may be joined."""
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "")
    return not text.strip(" .,!?\n")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content or "")
