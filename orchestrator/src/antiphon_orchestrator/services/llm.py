"""Pipecat language model over antiphon.llm.v1."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import grpc
from loguru import logger
from openai.types.chat import ChatCompletionChunk
from pipecat.adapters.llm.services.open_ai_adapter import openai_is_given
from pipecat.frames.frames import FunctionCallFromLLM
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.openai.base_llm import BaseOpenAILLMService

from antiphon.llm.v1 import llm_pb2 as pb
from antiphon_runtime.client import DialError, Replicas, Stream

from ..interleaving import Interleaver, SegmentFrame
from .link import GrpcErrors, call_metadata, describe, is_lost
from .response_limits import CallIds, ResponseLimits, ResponseMeter, ResponseRefused, ToolRounds

# An answer of which nothing has come after this is asked for elsewhere.
FIRST_TOKEN_S = 5.0


class AntiphonLLMService(GrpcErrors, BaseOpenAILLMService):
    """One RPC an answer. Pipecat's OpenAI service does the rest: tools, usage, metrics, tracing.

    Leaving an answer, as an interruption does, cancels its RPC and so frees the model.
    """

    # The small models know no developer role; Pipecat turns such messages into the user's.
    supports_developer_role = False

    def __init__(
        self,
        *,
        replicas: Replicas,
        model: str = "",
        system_prompt: str = "",
        session_id: str = "",
        max_token_count: int = 0,
        temperature: float | None = None,
        interleaver: Interleaver | None = None,
        limits: ResponseLimits | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            settings=BaseOpenAILLMService.Settings(model=model or "antiphon", system_instruction=system_prompt or None),
            **kwargs,
        )
        self._replicas = replicas
        self._requested_model = model
        self._model_name = model or "antiphon"
        self._session_id = session_id
        self._system_prompt = system_prompt or None
        self._max_token_count = max_token_count
        self._temperature = temperature
        self._interleaver = interleaver
        self._limits = limits or ResponseLimits()
        self._tool_rounds = ToolRounds(self._limits.max_tool_rounds)
        self._call_ids = CallIds()

    def create_client(self, *args: Any, **kwargs: Any) -> Any:
        """There is no HTTP client."""
        return None

    async def push_error(self, error_msg: str, exception: Exception | None = None, *args: Any, **kwargs: Any) -> None:
        """In one line; Pipecat would quote all that gRPC knows."""
        if isinstance(exception, DialError | TimeoutError | ResponseRefused | grpc.aio.AioRpcError):
            error_msg = f"llm: {describe(exception)}"
        await super().push_error(error_msg, exception, *args, **kwargs)

    async def get_chat_completions(self, context: LLMContext) -> Any:
        """Opens the RPC. Raises DialError when no replica takes it.

        After `max_tool_rounds` rounds of tool calls in a turn, tools may not be called.
        """
        self._tool_rounds.asked(context.get_messages())
        config = await self._config(context)
        config.await_grants = self._interleaver is not None
        if self._tool_rounds.are_used_up:
            self._limits.on_limit("tool_rounds", f"{self._limits.max_tool_rounds} rounds of tool calls in one turn")
            config.tool_choice_json = '"none"' if config.tools_json else ""
        request = pb.GenerateRequest(config=config)
        return self._chunks(request, await self._open(request))

    async def run_function_calls(self, function_calls: Sequence[FunctionCallFromLLM]) -> None:
        """Counts the round, unless it belongs to a speculative response, which runs no tools."""
        if function_calls and not self._speculation_gate.is_speculating:
            self._tool_rounds.called()
        await super().run_function_calls(function_calls)

    async def _open(self, request: pb.GenerateRequest, *avoid: str) -> Stream:
        return await self._replicas.open(request, metadata=call_metadata(self, self._session_id), avoid=avoid)

    async def run_inference(
        self,
        context: LLMContext,
        max_tokens: int | None = None,
        system_instruction: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> str | None:
        """The whole answer at once, outside the conversation."""
        config = await self._config(context, system_instruction)
        config.max_token_count = max_tokens or config.max_token_count
        stream = await self._replicas.open(pb.GenerateRequest(config=config))
        try:
            async with aclosing(self._admitted(_all(stream), config.max_token_count)) as events:
                return (
                    "".join([event.text.text async for event in events if event.WhichOneof("event") == "text"]) or None
                )
        finally:
            stream.cancel()

    async def _config(self, context: LLMContext, system_instruction: str | None = None) -> pb.GenerateConfig:
        params = await self.get_llm_adapter().get_llm_invocation_params(
            context, system_instruction=system_instruction or self._system_prompt, convert_developer_to_user=True
        )
        tools, choice = params["tools"], params["tool_choice"]
        return pb.GenerateConfig(
            messages_json=json.dumps(params["messages"]),
            tools_json=json.dumps(tools) if openai_is_given(tools) else "",
            tool_choice_json=json.dumps(choice) if openai_is_given(choice) else "",
            model=self._requested_model,
            max_token_count=self._max_token_count,
            temperature=self._temperature,
        )

    async def _chunks(self, request: pb.GenerateRequest, stream: Stream) -> AsyncIterator[ChatCompletionChunk]:
        calls, spoke, refused = 0, False, self._tool_rounds.are_used_up
        async with aclosing(self._admitted(self._answer(request, stream), request.config.max_token_count)) as events:
            async for event in events:
                match event.WhichOneof("event"):
                    case "text":
                        spoke = spoke or bool(event.text.text.strip())
                        yield self._chunk({"content": event.text.text})
                    case "tool_call" if refused and spoke:
                        return
                    case "tool_call" if refused:
                        raise ResponseRefused(f"tools called after {self._limits.max_tool_rounds} rounds of them")
                    case "tool_call":
                        call = event.tool_call
                        function = {"name": call.name, "arguments": call.arguments_json}
                        call_id = self._call_ids.unique(call.call_id)
                        delta = {"index": calls, "id": call_id, "type": "function", "function": function}
                        yield self._chunk({"tool_calls": [delta]})
                        calls += 1
                    case "finished":
                        yield self._chunk(None, _usage(event.finished.usage))

    async def _admitted(
        self, events: AsyncGenerator[pb.GenerateResponse], max_token_count: int
    ) -> AsyncGenerator[pb.GenerateResponse]:
        """The events of one response up to its limits; leaving it cancels the RPC.

        Raises ResponseRefused when a limit is reached before anything that can be spoken or run.
        """
        meter = ResponseMeter(max_token_count)
        async with aclosing(events):
            async for event in events:
                admitted = meter.admit(event)
                if admitted is not None:
                    yield admitted
                if meter.reached:
                    self._limits.on_limit(*meter.reached)
                    if meter.is_empty:
                        raise ResponseRefused(f"{meter.reached[1]}")
                    return

    async def _answer(self, request: pb.GenerateRequest, stream: Stream) -> AsyncGenerator[pb.GenerateResponse]:
        """The stream's events; when it is lost or silent before the first, those of another replica's, once."""
        # On a GPU in turns, an answer waits for the voices of others as well.
        limit_s = None if self._interleaver else FIRST_TOKEN_S
        for last in (False, True):
            try:
                async with stream, aclosing(self._events(stream)) as events:
                    async for event in _begun_within(limit_s, events):
                        yield event
                return
            except _NotBegun as broken:
                if last:
                    raise broken.error from broken
                logger.warning(f"{self}: {describe(broken.error)} from {stream.address}: asks elsewhere")
            stream = await self._open(request, stream.address)

    def _events(self, stream: Stream) -> AsyncGenerator[pb.GenerateResponse]:
        return _all(stream) if self._interleaver is None else self._interleaved(stream, self._interleaver)

    async def _interleaved(self, stream: Stream, interleaver: Interleaver) -> AsyncGenerator[pb.GenerateResponse]:
        """The stream's events, of which the voice speaks each stretch before the next is written."""
        for number in itertools.count():
            grant = interleaver.grant(first=not number)
            async with interleaver.awaiting(grant.segment_id) as spoken:
                async with interleaver.writing():
                    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # reading tells why
                        await stream.write(pb.GenerateRequest(grant=grant))
                    async for event in stream:
                        yield event
                        if event.WhichOneof("event") == "segment_done":
                            break
                    else:
                        return
                await self.push_frame(SegmentFrame(grant.segment_id))
                await interleaver.until_wanted(spoken)

    def _chunk(self, delta: dict[str, Any] | None, usage: dict[str, Any] | None = None) -> ChatCompletionChunk:
        choices = [{"index": 0, "delta": delta, "finish_reason": None}] if delta else []
        return ChatCompletionChunk.model_validate(
            {
                "id": "antiphon",
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": self._model_name,
                "choices": choices,
                "usage": usage,
            }
        )


class _NotBegun(Exception):
    """Nothing has come of an answer, and another replica may do better."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def _begun_within(
    limit_s: float | None, events: AsyncGenerator[pb.GenerateResponse]
) -> AsyncGenerator[pb.GenerateResponse]:
    """The events. Raises _NotBegun when the first does not come."""
    try:
        async with asyncio.timeout(limit_s):
            first = await anext(events, None)
    except (TimeoutError, grpc.aio.AioRpcError) as error:
        if not is_lost(error):
            raise
        raise _NotBegun(error) from error
    if first is not None:
        yield first
        async for event in events:
            yield event


async def _all(stream: Stream) -> AsyncGenerator[pb.GenerateResponse]:
    async for event in stream:
        yield event


def _usage(usage: pb.Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_token_count,
        "completion_tokens": usage.output_token_count,
        "total_tokens": usage.prompt_token_count + usage.output_token_count,
        "prompt_tokens_details": {"cached_tokens": usage.cached_token_count},
    }
