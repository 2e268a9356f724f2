"""Messages that a client can send to the installed Pipecat, read from its source."""

import ast
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pipecat.processors.frameworks.rtvi.models as models
import pipecat.processors.frameworks.rtvi.processor as processor
import pipecat.transports.smallwebrtc.connection as connection
from pydantic import BaseModel
from pydantic_core import PydanticUndefined


def source(module: Any) -> str:
    return Path(module.__file__).read_text()


def handled_types(text: str) -> dict[str, str]:
    """Each type that the RTVI processor acts on, with the model of its data, "" where it takes it raw."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Match) and ast.unparse(node.subject) == "message.type":
            for case in node.cases:
                validated = [
                    call.func.value.attr
                    for call in ast.walk(ast.Module(case.body, []))
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and call.func.attr == "model_validate"
                    and isinstance(call.func.value, ast.Attribute)
                ]
                for value in ast.walk(case.pattern):
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        found[value.value] = validated[0] if validated else ""
    return found


def declared_types(text: str) -> dict[str, str]:
    """Each `type` that a model has, in either direction, with the model's name."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) == "type":
                    for value in ast.walk(field.annotation):
                        if isinstance(value, ast.Constant) and isinstance(value.value, str):
                            found[value.value] = node.name
    return found


def rtvi_types() -> dict[str, Any]:
    """Each RTVI type, with data that its model accepts."""
    types_: dict[str, Any] = {}
    for kind, name in declared_types(source(models)).items():
        made = plausible(getattr(models, name))
        types_[kind] = made.get("data", made) if isinstance(made, dict) else made
    for kind, name in handled_types(source(processor)).items():
        types_[kind] = RAW | (plausible(getattr(models, name)) if name else {})
    return types_


def signalling_types() -> dict[str, Any]:
    """Each signalling message of the WebRTC transport."""
    kinds = declared_types(source(connection))
    return {kind: plausible(getattr(connection, name)) for kind, name in kinds.items()}


# For what Pipecat reads without a model.
RAW = {
    "version": "1.0.0",
    "about": {"library": "forger"},
    "base64Audio": "AQID",
    "base64AudioBatch": ["AQID"],
    "sampleRate": 16_000,
    "numChannels": 1,
}
BY_NAME = {"tool_call_id": "call_0", "function_name": "verify", "bytes": "AQID", "url": "http://127.0.0.1:1/"}
# Models that contain themselves are not followed further.
DEEPEST = 4


def plausible(kind: Any, name: str = "", depth: int = 0) -> Any:
    """A value of the type, as a client would send it."""
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            field: given.default
            if given.default not in (None, PydanticUndefined) and get_origin(given.annotation) is Literal
            else plausible(given.annotation, field, depth + 1)
            for field, given in kind.model_fields.items()
            if depth < DEEPEST or given.is_required()
        }
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return plausible(next(arg for arg in args if arg is not type(None)), name, depth)
    if origin is list:
        return [plausible(args[0], name, depth)]
    if kind in (int, float):
        return 1
    if kind is bool:
        return True
    if origin is dict or kind is dict:
        return {"forged": True}
    if isinstance(kind, type) and issubclass(kind, str) and hasattr(kind, "__members__"):
        return next(iter(kind)).value
    return BY_NAME.get(name, "forged") if kind is str else {"verified": True}
