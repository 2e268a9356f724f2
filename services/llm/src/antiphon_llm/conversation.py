"""Conversations and tools as callers send them: OpenAI Chat Completions JSON, checked."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from antiphon_runtime.errors import InvalidInput

# What OpenAI allows for the name of a function.
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
Role = Literal["system", "user", "assistant", "tool"]
# "developer" is OpenAI's newer word for "system".
ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, with its arguments as the JSON text of an object."""

    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `calls` are an assistant's; `answers` is the name of the function whose result a tool message is."""

    role: Role
    text: str
    calls: tuple[Call, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether tools may or must be called; a `name` names the one that must be."""

    mode: Literal["auto", "none", "required"]
    name: str = ""

    def allowed(self, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        """Those of `tools` that may be called."""
        if self.mode == "none":
            return ()
        return tuple(tool for tool in tools if self.name in ("", tool.name))


@dataclass(frozen=True, slots=True)
class Sent:
    """The caller's own JSON values, for a backend that passes them on."""

    messages: Sequence[Any] = ()
    tools: Sequence[Any] = ()
    choice: Any = "auto"


def read_sent(messages_json: str, tools_json: str, choice_json: str) -> Sent:
    """What has been checked by the functions below, as it was sent but for characters that cannot be carried."""
    return Sent(*(_cleaned(json.loads(text)) for text in (messages_json, tools_json or "[]", choice_json or '"auto"')))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return _clean(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {_clean(name): _cleaned(item) for name, item in value.items()}
    return value


def read_messages(text: str) -> tuple[Message, ...]:
    """Raises InvalidInput, naming the message, when `text` is not a conversation."""
    field = "config.messages_json"
    items = _array(field, text)
    if not items:
        raise InvalidInput(f"{field} has no messages", reason="NO_MESSAGES")
    messages: list[Message] = []
    names: dict[str, str] = {}
    for number, item in enumerate(items):
        message = _message(f"{field}[{number}]", item, names)
        names.update({call.call_id: call.name for call in message.calls})
        messages.append(message)
    return tuple(messages)


def _message(field: str, item: Any, names: Mapping[str, str]) -> Message:
    if not isinstance(item, dict):
        raise InvalidInput(f"{field} is not an object", reason="INVALID_MESSAGES")
    role = ROLES.get(str(item.get("role")))
    if role is None:
        raise InvalidInput(
            f"{field}.role {item.get('role')!r} is unknown: it is one of {', '.join(ROLES)}", reason="UNKNOWN_ROLE"
        )
    items = item.get("tool_calls") or []
    if not isinstance(items, list):
        raise InvalidInput(f"{field}.tool_calls is not an array", reason="INVALID_MESSAGES")
    calls = tuple(_call(f"{field}.tool_calls[{number}]", call) for number, call in enumerate(items))
    call_id = str(item.get("tool_call_id", ""))
    answers = names.get(call_id, str(item.get("name", ""))) if role == "tool" else ""
    return Message(role, _content(f"{field}.content", item.get("content")), calls, answers)


def _content(field: str, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return _clean(content)
    if not isinstance(content, list):
        raise InvalidInput(f"{field} is neither text nor a list of parts", reason="INVALID_MESSAGES")
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidInput(f"{field} has a part that is not text", reason="INVALID_MESSAGES")
        parts.append(_clean(part["text"]))
    return "\n".join(parts)


def _call(field: str, item: Any) -> Call:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(function, dict) or not NAME.fullmatch(str(function.get("name"))):
        raise InvalidInput(f"{field}.function.name is missing or no name", reason="INVALID_MESSAGES")
    arguments = function.get("arguments") or "{}"
    if not isinstance(arguments, str):
        raise InvalidInput(f"{field}.function.arguments is not text", reason="INVALID_MESSAGES")
    return Call(str(item.get("id", "")), str(function["name"]), _clean(arguments))


def read_tools(text: str) -> tuple[Tool, ...]:
    """Raises InvalidInput, naming the tool, when `text` is not a list of functions."""
    field = "config.tools_json"
    tools = tuple(_tool(f"{field}[{number}]", item) for number, item in enumerate(_array(field, text or "[]")))
    if len({tool.name for tool in tools}) < len(tools):
        raise InvalidInput(f"{field} names a function twice", reason="INVALID_TOOLS")
    return tools


def _tool(field: str, item: Any) -> Tool:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(function, dict) or not NAME.fullmatch(str(function.get("name"))):
        raise InvalidInput(f"{field}.function.name is missing or no name", reason="INVALID_TOOLS")
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict) or not isinstance(parameters.get("properties", {}), dict):
        raise InvalidInput(f"{field}.function.parameters is not the schema of an object", reason="INVALID_TOOLS")
    return Tool(str(function["name"]), _clean(str(function.get("description") or "")), parameters)


def read_choice(text: str, tools: Sequence[Tool]) -> Choice:
    """Raises InvalidInput when `text` is no tool_choice, or wants a tool that is not there."""
    field = "config.tool_choice_json"
    choice = _json(field, text or '"auto"')
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if name not in {tool.name for tool in tools}:
            raise InvalidInput(f"{field} names {name!r}, which is not in config.tools_json", reason="UNKNOWN_TOOL")
        return Choice("required", str(name))
    if choice not in ("auto", "none", "required"):
        raise InvalidInput(f"{field} is not auto, none, required or a function", reason="INVALID_TOOL_CHOICE")
    if choice == "required" and not tools:
        raise InvalidInput(f"{field} is required, but config.tools_json has none", reason="UNKNOWN_TOOL")
    return Choice(choice)


def _array(field: str, text: str) -> list[Any]:
    items = _json(field, text)
    if not isinstance(items, list):
        raise InvalidInput(f"{field} is not a JSON array", reason="INVALID_JSON")
    return items


def _json(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{field} is not JSON: {error}", reason="INVALID_JSON") from error


def _clean(text: str) -> str:
    """`text` without control characters and halves of characters, which engines and protobuf cannot carry."""
    return CONTROLS.sub("", text).encode("utf-8", "replace").decode()
