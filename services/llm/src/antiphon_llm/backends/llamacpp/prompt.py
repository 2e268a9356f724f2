"""Conversations as turns that a small chat model knows: system, user, assistant, and nothing else.

The chat template is the model's own, applied by the engine.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ...conversation import Choice, Message, Tool
from .grammar import tool_grammar

# What someone says must not become the template's own marks: <|im_start|>, <|eot_id|>, <start_of_turn>, </s>, [INST].
MARKS = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?(?:start_of_turn|end_of_turn|s)>|\[/?INST\]")
# Separates roles, texts and messages where prompts are compared: never in a text.
UNIT, RECORD = "\x1f", "\x1e"


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine is asked: the turns, and the grammar that the answer must follow ("" for none)."""

    turns: tuple[Turn, ...]
    grammar: str = ""

    @property
    def whole(self) -> str:
        """A text that begins with another prompt's exactly when this one goes on where that ended."""
        return _flat(self.turns)

    @property
    def answered(self) -> str:
        """`whole`, up to the last answer."""
        last = max((n + 1 for n, turn in enumerate(self.turns) if turn.role == "assistant"), default=0)
        return _flat(self.turns[:last])


def prompt(
    messages: Sequence[Message],
    tools: Sequence[Tool],
    choice: Choice,
    tool_result_role: str,
    *,
    opening: bool = False,
    most_calls: int = 1,
) -> Prompt:
    """The prompt for an answer to `messages`; with `opening` it is only what other prompts begin with."""
    allowed = choice.allowed(tools)
    turns = [_turn(message, tool_result_role) for message in messages]
    if allowed:
        turns = _told(turns, allowed)
    if turns[-1].role == "assistant" and not opening:  # without this the engine would go on with that answer
        turns.append(Turn("user", ""))
    grammar = tool_grammar(allowed, required=choice.mode == "required", most=most_calls) if allowed else ""
    return Prompt(tuple(_merged(turns)), grammar)


def _turn(message: Message, tool_result_role: str) -> Turn:
    text = MARKS.sub("", message.text)
    if message.role == "tool":
        return Turn(tool_result_role, f"{message.answers or 'The tool'} returned: {text}")
    calls = [_called(call.name, call.arguments_json) for call in message.calls]
    return Turn(message.role, "\n".join(part for part in (text, *calls) if part))


def _called(name: str, arguments_json: str) -> str:
    return f'{{"tool": {json.dumps(name)}, "arguments": {MARKS.sub("", arguments_json)}}}'


def _told(turns: list[Turn], tools: Sequence[Tool]) -> list[Turn]:
    """`turns` with the tools described in the system prompt."""
    listed = " ".join(_signature(tool) for tool in tools)
    how = f'To use a tool, answer only with JSON like {{"tool": {json.dumps(tools[0].name)}, "arguments": {{}}}}.'
    text = f"Tools: {MARKS.sub('', listed)} {how} Otherwise answer in words."
    if turns and turns[0].role == "system":
        return [Turn("system", f"{turns[0].text}\n{text}"), *turns[1:]]
    return [Turn("system", text), *turns]


def _signature(tool: Tool) -> str:
    arguments = ", ".join(tool.parameters.get("properties") or ())
    text = tool.description.strip()
    return f"{tool.name}({arguments}): {text}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """One turn in place of several of one role in a row: many templates refuse those."""
    return [
        Turn(role, "\n".join(turn.text for turn in group if turn.text))
        for role, group in groupby(turns, key=lambda turn: turn.role)
    ]


def _flat(turns: Sequence[Turn]) -> str:
    return RECORD.join(f"{turn.role}{UNIT}{turn.text}" for turn in turns)
