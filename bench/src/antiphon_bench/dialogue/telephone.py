"""One turn of the scripted call: the answer, after as many tool calls as the model makes."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import grpc

from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc

from ..llm.talk import Message
from ..rpc import events
from .script import Scripted

# A model that calls tools for ever is stopped.
MOST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said and called. `ttft_ms` is to the first token or call, None when there was none."""

    text: str
    calls: tuple[tuple[str, str], ...]
    ttft_ms: float | None
    cached_tokens: int
    prompt_tokens: int
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


async def answered(
    stub: llm_pb2_grpc.LlmServiceStub,
    messages: list[Message],
    tools: Sequence[Mapping[str, Any]],
    due: Scripted,
    tokens: int,
) -> Answer:
    """Adds what is said and called to `messages`. A call that is due gets its result, any other an error."""
    asked, first, text, calls, usage = time.monotonic(), None, "", [], llm_pb2.Usage()
    try:
        for number in range(MOST_ROUNDS):
            said, made = "", []
            config = llm_pb2.GenerateConfig(
                messages_json=json.dumps(messages), tools_json=json.dumps(tools), max_token_count=tokens
            )
            async for event in events(stub.Generate(iter([llm_pb2.GenerateRequest(config=config)]))):
                kind = event.WhichOneof("event")
                if kind in ("text", "tool_call"):
                    first = first or time.monotonic()
                said += event.text.text
                made += [event.tool_call] if kind == "tool_call" else []
                usage = event.finished.usage if kind == "finished" and not number else usage
            text += said
            calls += [(call.name, call.arguments_json) for call in made]
            messages.append(_said(said, made))
            if not made:
                break
            messages += [_result(call, due) for call in made]
    except grpc.aio.AioRpcError as error:
        messages.append({"role": "assistant", "content": text})
        return Answer(text, tuple(calls), None, 0, 0, f"{error.code()}: {error.details()}")
    ttft_ms = (first - asked) * 1000 if first else None
    return Answer(text.strip(), tuple(calls), ttft_ms, usage.cached_token_count, usage.prompt_token_count)


def _said(text: str, made: Sequence[llm_pb2.ToolCall]) -> Message:
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
        for call in made
    ]
    return {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}


def _result(call: llm_pb2.ToolCall, due: Scripted) -> Message:
    result = due.result if call.name == due.call else {"error": "not needed now"}
    return {"role": "tool", "tool_call_id": call.call_id, "content": json.dumps(result)}
