"""GBNF grammars for tool calls, from the JSON schemas of their arguments.

GBNF is llama.cpp's: grammars/README.md there. The engine's own converter is not used: in builds with llguidance it
makes another kind of grammar, under which a plain answer cannot end. JSON is written as json.dumps does, with one space
after each comma and colon and nowhere else, so that a small model cannot lose itself in white space. What is not known
here ($ref, patterns, formats) may be any JSON.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...conversation import Tool

MAX_DEPTH = 8
# llama.cpp refuses grammars that repeat something more than 2000 times.
MAX_COUNT = 1000
PRIMITIVES = r"""
value ::= object | array | string | number | boolean | null
object ::= "{" (string ": " value (", " string ": " value)*)? "}"
array ::= "[" (value (", " value)*)? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
integer ::= "-"? ("0" | [1-9] [0-9]{0,15})
number ::= integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?
boolean ::= "true" | "false"
null ::= "null"
"""
# A plain answer is anything that cannot be mistaken for a call.
TEXT = r"""
text ::= " "? [^ {\t\r\n] [^\x00]*
"""


def tool_grammar(tools: Sequence[Tool], *, required: bool, most: int = 1) -> str:
    """A grammar for calls of `tools`, at most so many and one a line, or, unless `required`, a plain answer."""
    choices = " | ".join(_call(tool) for tool in tools)
    calls = "call" if most == 1 else f'call ("\\n" call){{0,{most - 1}}}'
    root = "calls" if required else "calls | text"
    return f"root ::= {root}\ncalls ::= {calls}\ncall ::= {choices}{'' if required else TEXT}{PRIMITIVES}"


def _call(tool: Tool) -> str:
    start = _literal(f'{{"tool": {json.dumps(tool.name)}, "arguments": ')
    return f"{start} {_object(tool.parameters, 0)} {_literal('}')}"


def _schema(schema: Any, depth: int) -> str:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return "value"
    if "const" in schema:
        return _literal(json.dumps(schema["const"]))
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return _either([_literal(json.dumps(value)) for value in schema["enum"]])
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            return _either([_schema(option, depth + 1) for option in schema[word]])
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        return _either([_schema({**schema, "type": one}, depth + 1) for one in kind])
    return _typed(str(kind), schema, depth)


def _typed(kind: str, schema: Mapping[str, Any], depth: int) -> str:
    match kind:
        case "object":
            return _object(schema, depth)
        case "array":
            return _items(schema, depth)
        case "string" if _count(schema, "maxLength") is not None or _count(schema, "minLength"):
            most = _count(schema, "maxLength")
            return f'"\\"" char{{{_count(schema, "minLength") or 0},{"" if most is None else most}}} "\\""'
        case "string" | "integer" | "number" | "boolean" | "null":
            return kind
        case _:
            return "value"


def _object(schema: Mapping[str, Any], depth: int) -> str:
    """Required properties in the schema's order, then any of the optional ones in theirs."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return _literal("{}") if depth == 0 or isinstance(properties, Mapping) else "object"
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    pairs = {name: f"{_literal(json.dumps(name) + ': ')} {_schema(properties[name], depth + 1)}" for name in properties}
    first = [pairs[name] for name in properties if name in required]
    optional = [pairs[name] for name in properties if name not in required]
    comma = _literal(", ")
    if first:
        body = f" {comma} ".join(first) + "".join(f" ({comma} {pair})?" for pair in optional)
    else:
        tails = (
            f"{pair}" + "".join(f" ({comma} {later})?" for later in optional[number + 1 :])
            for number, pair in enumerate(optional)
        )
        body = f"{_either(list(tails))}?"
    return f"{_literal('{')} {body} {_literal('}')}"


def _items(schema: Mapping[str, Any], depth: int) -> str:
    item = _schema(schema.get("items"), depth + 1)
    least, most = _count(schema, "minItems") or 0, _count(schema, "maxItems")
    more = f'(", " {item}){{{max(least - 1, 0)},{"" if most is None else max(most - 1, 0)}}}'
    if most == 0:
        return _literal("[]")
    return f'"[" {item} {more} "]"' if least else f'"[" ({item} {more})? "]"'


def _count(schema: Mapping[str, Any], what: str) -> int | None:
    count = schema.get(what)
    return min(count, MAX_COUNT) if isinstance(count, int) and count >= 0 else None


def _either(options: Sequence[str]) -> str:
    return f"({' | '.join(options)})"


def _literal(text: str) -> str:
    """A GBNF string; json.dumps has escaped everything outside of ASCII with \\u, which GBNF knows too."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
