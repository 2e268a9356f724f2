"""The Generate RPC: grants in one task, the turn in another, both gone when either ends badly."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from antiphon.common.v1 import stream_pb2
from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc
from antiphon_runtime.errors import InvalidInput
from antiphon_runtime.pcm import checked_choice
from antiphon_runtime.rpc import stream_id
from antiphon_runtime.slots import Slots
from antiphon_runtime.stream import Replies, first_config

from .backends import CallPart, Done, Event, Generation, Model, Reason, Rested, Sampling, Text
from .conversation import Call, read_choice, read_messages, read_tools
from .grants import Clauses, Grant, Grants
from .metrics import LlmMetrics, Meter
from .settings import Settings

Requests = AsyncIterator[llm_pb2.GenerateRequest]

MAX_TEMPERATURE = 2.0
REASONS = {
    Reason.STOP: llm_pb2.FINISH_REASON_STOP,
    Reason.LENGTH: llm_pb2.FINISH_REASON_LENGTH,
    Reason.TOOL_CALLS: llm_pb2.FINISH_REASON_TOOL_CALLS,
    Reason.GRANTS_USED: llm_pb2.FINISH_REASON_GRANTS_USED,
}


class LlmServicer(llm_pb2_grpc.LlmServiceServicer):
    def __init__(self, model: Model, settings: Settings, metrics: LlmMetrics) -> None:
        self._model = model
        self._settings = settings
        self._metrics = metrics
        self._slots = Slots(settings.slots, metrics.slots)

    # A coroutine that writes, not a generator that yields: a task group must not span a yield.
    async def Generate(self, requests: Requests, context: Any) -> None:  # type: ignore[override]
        config = await first_config(requests)
        arrived_s = time.monotonic()
        generation = self._checked(config)
        replies, grants = Replies(context), Grants(self._settings.grant_timeout_s)
        with self._slots.hold():
            ready = llm_pb2.Ready(stream_id=stream_id(), config=self._effective(config, generation))
            await replies.send(llm_pb2.GenerateResponse(ready=ready))
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(_listen(requests, grants, generation), name="listen")
                await self._answer(generation, grants, replies, arrived_s, streams_calls=config.stream_tool_calls)
                listening.cancel()

    async def _answer(
        self, generation: Generation, grants: Grants, replies: Replies, arrived_s: float, *, streams_calls: bool
    ) -> None:
        clauses, meter = Clauses(), Meter(self._metrics, arrived_s)
        with meter:
            async with self._model.generate(generation, grants) as events:
                async for event in events:
                    meter.observe(event)
                    if isinstance(event, CallPart) and not streams_calls:
                        continue
                    for told in _whole(event, clauses, grants):
                        await replies.send(to_wire(told, arrived_s))
                    meter.observe_sent(event)

    def _checked(self, config: llm_pb2.GenerateConfig) -> Generation:
        checked_choice("model", config.model, (self._model.name,))
        tools = read_tools(config.tools_json)
        if config.max_token_count < 0:
            raise InvalidInput(f"config.max_token_count {config.max_token_count} is negative")
        limit = self._settings.max_tokens
        messages, choice = read_messages(config.messages_json), read_choice(config.tool_choice_json, tools)
        return Generation(
            messages=messages,
            tools=tools,
            choice=choice,
            sampling=self._sampling(config),
            max_tokens=min(config.max_token_count or limit, limit),
            await_grants=config.await_grants,
            sent_json=(config.messages_json, config.tools_json, config.tool_choice_json),
        )

    def _sampling(self, config: llm_pb2.GenerateConfig) -> Sampling:
        temperature = config.temperature if config.HasField("temperature") else self._settings.temperature
        top_p = config.top_p if config.HasField("top_p") else self._settings.top_p
        if not (math.isfinite(temperature) and 0 <= temperature <= MAX_TEMPERATURE):
            raise InvalidInput(f"config.temperature {temperature} is not from 0 to {MAX_TEMPERATURE:g}")
        if not (math.isfinite(top_p) and 0 < top_p <= 1):
            raise InvalidInput(f"config.top_p {top_p} is not above 0 and up to 1")
        return Sampling(temperature, top_p, config.seed if config.HasField("seed") else None)

    def _effective(self, config: llm_pb2.GenerateConfig, generation: Generation) -> llm_pb2.GenerateConfig:
        choice = generation.choice
        named = {"type": "function", "function": {"name": choice.name}}
        effective = llm_pb2.GenerateConfig(
            tool_choice_json=json.dumps(named if choice.name else choice.mode),
            model=self._model.name,
            max_token_count=generation.max_tokens,
            temperature=generation.sampling.temperature,
            top_p=generation.sampling.top_p,
            await_grants=generation.await_grants,
            stream_tool_calls=config.stream_tool_calls,
        )
        if config.HasField("seed"):
            effective.seed = config.seed
        return effective


async def _listen(requests: Requests, grants: Grants, generation: Generation) -> None:
    async for request in requests:
        kind = request.WhichOneof("request")
        if kind != "grant":
            raise InvalidInput(f"after `config`, send only grants, not {kind or 'nothing'}")
        if not generation.await_grants:
            raise InvalidInput("a grant needs config.await_grants", reason="GRANT_NOT_AWAITED")
        await grants.add(_grant(request.grant))
    await grants.end()


def _grant(grant: llm_pb2.Grant) -> Grant:
    if grant.token_count < 1:
        raise InvalidInput(f"grant.token_count {grant.token_count} is not positive")
    if grant.most_token_count and grant.most_token_count < grant.token_count:
        raise InvalidInput(f"grant.most_token_count {grant.most_token_count} is less than its token_count")
    return Grant(grant.segment_id, grant.token_count, grant.most_token_count, grant.whole_clauses)


def _whole(event: Event, clauses: Clauses, grants: Grants) -> Iterator[Event]:
    """The event, without text that the grant in force holds back, and with what was held back until then."""
    match event:
        case Text(text, tokens):
            if text := clauses.heard(text, bool(grants.current and grants.current.whole_clauses)):
                yield Text(text, tokens)
            return
        case Rested():
            held = clauses.rested()
        case _:
            held = clauses.rest()
    if held:
        yield Text(held, 0)
    yield event


def to_wire(event: Event, arrived_s: float) -> llm_pb2.GenerateResponse:
    match event:
        case Text(text):
            return llm_pb2.GenerateResponse(text=llm_pb2.TextDelta(text=text))
        case Call(call_id, name, arguments_json):
            call = llm_pb2.ToolCall(call_id=call_id, name=name, arguments_json=arguments_json)
            return llm_pb2.GenerateResponse(tool_call=call)
        case CallPart(index, call_id, name, arguments_json):
            delta = llm_pb2.ToolCallDelta(index=index, call_id=call_id, name=name, arguments_json=arguments_json)
            return llm_pb2.GenerateResponse(tool_call_delta=delta)
        case Rested(segment_id, tokens):
            done = llm_pb2.SegmentDone(segment_id=segment_id, token_count=tokens)
            return llm_pb2.GenerateResponse(segment_done=done)
        case Done():
            return llm_pb2.GenerateResponse(finished=_finished(event, arrived_s))


def _finished(done: Done, arrived_s: float) -> llm_pb2.Finished:
    return llm_pb2.Finished(
        reason=REASONS[done.reason],
        usage=llm_pb2.Usage(
            prompt_token_count=done.usage.prompt_tokens,
            cached_token_count=done.usage.cached_tokens,
            output_token_count=done.usage.output_tokens,
            dropped_message_count=done.usage.dropped_messages,
        ),
        timings=stream_pb2.Timings(
            queue_ms=1000 * max(0.0, done.began_s - arrived_s),
            compute_ms=1000 * max(0.0, done.ended_s - done.began_s),
        ),
        first_token_ms=1000 * done.first_token_s,
    )
