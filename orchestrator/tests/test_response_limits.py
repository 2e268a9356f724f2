"""AntiphonLLMService with a server that keeps to nothing."""

import itertools
import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from own_bot import Bot, bot
from pipecat.frames.frames import (
    ErrorFrame,
    FunctionCallResultFrame,
    LLMContextAssistantTurnFrame,
    LLMMessagesAppendFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams

from antiphon.llm.v1 import llm_pb2 as pb
from antiphon_orchestrator.limits import Limit
from antiphon_orchestrator.services import AntiphonLLMService
from antiphon_orchestrator.services.response_limits import (
    MAX_ARGUMENTS_CHARS,
    MAX_TOOL_CALLS,
    SPARE_TOKENS,
    CallIds,
    ResponseLimits,
    ResponseMeter,
)
from antiphon_orchestrator.services.tool_calls_in_context import ContextPair

FINISHED = pb.GenerateResponse(finished=pb.Finished(reason=pb.FINISH_REASON_STOP))


def said(text: str) -> pb.GenerateResponse:
    return pb.GenerateResponse(text=pb.TextDelta(text=text))


def call(name: str = "brew", arguments: str = "{}", call_id: str = "call_0") -> pb.GenerateResponse:
    return pb.GenerateResponse(tool_call=pb.ToolCall(call_id=call_id, name=name, arguments_json=arguments))


class Server:
    """Stands for the replicas of a model: gives the next list of events to each request."""

    def __init__(self, *responses: Iterable[pb.GenerateResponse]) -> None:
        self._responses: Iterator[Iterable[pb.GenerateResponse]] = iter(responses)
        self.requests: list[pb.GenerateConfig] = []
        self.streams: list[Stream] = []

    async def open(self, request: pb.GenerateRequest, **_: Any) -> "Stream":
        self.requests.append(request.config)
        self.streams.append(Stream(next(self._responses)))
        return self.streams[-1]


class Stream:
    address = "nowhere"

    def __init__(self, events: Iterable[pb.GenerateResponse]) -> None:
        self._events = iter(events)
        self.given = 0
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> pb.GenerateResponse:
        event = next(self._events, None)
        if event is None:
            raise StopAsyncIteration
        self.given += 1
        return event


@asynccontextmanager
async def thinking(
    server: Server, *tools: Any, max_token_count: int = 10, max_tool_rounds: int = 2
) -> AsyncIterator[tuple[Bot, LLMContext, list[Limit]]]:
    reached: list[Limit] = []
    limits = ResponseLimits(max_tool_rounds, lambda limit, _: reached.append(limit))
    service = AntiphonLLMService(replicas=server, max_token_count=max_token_count, limits=limits)  # type: ignore[arg-type]
    context = LLMContext([], tools=list(tools))
    memory = ContextPair(context)
    async with bot(memory.user(), service, memory.assistant()) as at:
        yield at, context, reached


async def ask(at: Bot, text: str = "Tea, please.") -> None:
    await at.send(LLMMessagesAppendFrame([{"role": "user", "content": text}], run_llm=True))


FLOODS = {
    "words": itertools.repeat(said("word ")),
    "letters": itertools.repeat(said("a")),
    "nothing": itertools.chain([said("Well. ")], itertools.repeat(said(""))),
    "pages": itertools.repeat(said("word " * 2000)),
    "one event": itertools.chain([said("word " * 100_000)], itertools.repeat(FINISHED)),
    "pieces of calls": itertools.chain(
        [said("Well. ")], itertools.repeat(pb.GenerateResponse(tool_call_delta=pb.ToolCallDelta(arguments_json="{")))
    ),
    "segments": itertools.chain([said("Well. ")], itertools.repeat(pb.GenerateResponse(segment_done=pb.SegmentDone()))),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_response_without_an_end_is_ended_and_remembered_as_far_as_it_went(flood: str) -> None:
    server = Server(FLOODS[flood])
    async with thinking(server) as (at, context, reached):
        await ask(at)
        await at.up.until(LLMContextAssistantTurnFrame)
        text = context.get_messages()[-1]["content"]
        assert 0 < len(text) <= 8 * (10 + SPARE_TOKENS)
        assert reached == ["answer_tokens"] and not at.up.of(ErrorFrame)
        assert server.streams[0].cancelled and server.streams[0].given <= 4 * (10 + SPARE_TOKENS) + 2


def test_a_response_of_a_tokenizer_is_never_cut_off() -> None:
    """Tokens as tokenizers of English and German make them: 4.5 characters on average, a few much longer."""
    draw = random.Random(0)
    for number in range(500):
        most = draw.randrange(1, 400)
        lengths = draw.choices(range(1, 17), weights=[8, 9, 12, 15, 14, 10, 8, 6, 4, 3, 2, 2, 1, 1, 1, 1], k=most)
        meter = ResponseMeter(most)
        pieces = ["x" * length for length in lengths]
        if number % 3 == 1:  # several tokens an event
            pieces = ["".join(pieces[at : at + 5]) for at in range(0, most, 5)]
        elif number % 3 == 2:  # a character an event
            pieces = list("".join(pieces)[: 4 * most])
        admitted = [meter.admit(said(piece)) for piece in pieces]
        assert meter.reached is None and [one.text.text for one in admitted if one] == pieces


@pytest.mark.parametrize(
    "events",
    [
        itertools.repeat(call()),
        [call(arguments=json.dumps({"kind": "x" * MAX_ARGUMENTS_CHARS})), FINISHED],
        [call(name="x" * 1000), FINISHED],
        [call(call_id="x" * 1000), FINISHED],
    ],
    ids=["endless calls", "arguments", "name", "id"],
)
async def test_tool_calls_of_a_response_are_bounded(events: Iterable[pb.GenerateResponse]) -> None:
    brewed: list[str] = []

    async def brew(params: FunctionCallParams, kind: str = "") -> None:
        """Make tea."""
        brewed.append(kind)
        await params.result_callback("tea")

    server = Server(events, [said("Here you are."), FINISHED])
    async with thinking(server, brew) as (at, context, reached):
        await ask(at)
        await at.up.until(LLMContextAssistantTurnFrame if isinstance(events, itertools.repeat) else ErrorFrame)
        assert reached == ["tool_calls"] and server.streams[0].cancelled
        assert len(brewed) in (0, MAX_TOOL_CALLS)
        if brewed:
            ids = [one["tool_call_id"] for one in context.get_messages() if one["role"] == "tool"]
            assert len(set(ids)) == MAX_TOOL_CALLS
            assert "IN_PROGRESS" not in str(context.get_messages())


async def test_what_was_said_before_a_call_too_large_is_said_and_the_call_is_not_made() -> None:
    server = Server([said("One moment."), call(arguments="x" * (MAX_ARGUMENTS_CHARS + 1)), FINISHED])
    async with thinking(server) as (at, context, reached):
        await ask(at)
        await at.up.until(LLMContextAssistantTurnFrame)
        assert context.get_messages()[-1] == {"role": "assistant", "content": "One moment."}
        assert reached == ["tool_calls"] and not at.up.of(ErrorFrame)


async def brew(params: FunctionCallParams) -> None:
    """Make tea."""
    await params.result_callback("tea")


async def test_after_so_many_rounds_of_tools_the_model_is_asked_to_answer_without() -> None:
    server = Server(
        *([call(), FINISHED] for _ in range(2)), [said("Your tea."), FINISHED], [call(), FINISHED], [FINISHED]
    )
    async with thinking(server, brew) as (at, context, reached):
        await ask(at)
        await at.up.until(LLMContextAssistantTurnFrame)
        assert [request.tool_choice_json for request in server.requests] == ["", "", '"none"']
        assert len({request.tools_json for request in server.requests}) == 1  # the model's cache is kept
        assert context.get_messages()[-1]["content"] == "Your tea." and reached == ["tool_rounds"]
        assert len({one["tool_call_id"] for one in context.get_messages() if one["role"] == "tool"}) == 2
        await ask(at, "Another.")  # a new turn may call tools again
        await at.up.until(FunctionCallResultFrame, 3)
        assert server.requests[3].tool_choice_json == ""


async def test_a_model_that_calls_tools_all_the_same_fails_the_turn() -> None:
    server = Server(*([call(), FINISHED] for _ in range(20)))
    async with thinking(server, brew) as (at, context, _):
        await ask(at)
        assert (await at.up.until(ErrorFrame)).error == "llm: tools called after 2 rounds of them"
        assert len(server.requests) == 3
        assert "IN_PROGRESS" not in str(context.get_messages())


async def test_a_model_that_answers_and_calls_tools_all_the_same_is_heard() -> None:
    server = Server(*([call(), FINISHED] for _ in range(2)), [said("Your tea."), call(), FINISHED])
    async with thinking(server, brew) as (at, context, _):
        await ask(at)
        await at.up.until(LLMContextAssistantTurnFrame)
        assert context.get_messages()[-1]["content"] == "Your tea." and not at.up.of(ErrorFrame)


async def test_a_model_that_calls_what_it_was_not_given_does_not_go_on_for_ever() -> None:
    server = Server(*([call("launch"), FINISHED] for _ in range(20)))
    async with thinking(server) as (at, _, reached):
        await ask(at)
        await at.up.until(ErrorFrame)
        assert len(server.requests) == 3 and reached == ["tool_rounds"]
        assert all(not request.tool_choice_json for request in server.requests)  # nothing to choose from


async def test_an_inference_aside_has_an_end_too() -> None:
    service = AntiphonLLMService(replicas=Server(FLOODS["words"]), max_token_count=10)  # type: ignore[arg-type]
    async with bot(service):
        text = await service.run_inference(LLMContext([{"role": "user", "content": "Sum it up."}]))
        assert text and len(text) <= 8 * (10 + SPARE_TOKENS)


def test_calls_of_a_conversation_have_ids_of_their_own() -> None:
    ids = CallIds()
    assert ids.unique("a") == "a"
    given = ["a", *(ids.unique(one) for one in ("b", "a", "a", "", "", "a-3"))]
    assert len(set(given)) == len(given) and "" not in given
