"""What every backend of the service must do."""

import asyncio
import json
import re

import grpc
import pytest

from antiphon.llm.v1 import llm_pb2
from antiphon_llm.grants import CLAUSE_END, SENTENCE_END
from antiphon_runtime.rpc import error_reason

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Say hello."}]
ASK = [{"role": "user", "content": "Count from one to ten in words."}]
STORY = [{"role": "user", "content": "Tell me a story about a king, in long sentences."}]
LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Searches the web",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


def refused(turn, reason: str | None = None) -> str:
    """The message of a turn that was refused as the caller's fault."""
    assert turn.error is not None
    assert turn.error.code() == grpc.StatusCode.INVALID_ARGUMENT
    if reason:
        assert error_reason(turn.error) == reason
    return turn.error.details() or ""


async def test_a_turn_is_ready_then_text_then_finished_and_ends_with_ok(llm) -> None:
    turn = await llm.turn(HELLO)
    assert turn.kinds[0] == "ready"
    assert turn.kinds[-1] == "finished"
    assert set(turn.kinds[1:-1]) == {"text"}
    assert turn.finished.reason == llm_pb2.FINISH_REASON_STOP
    assert turn.finished.usage.output_token_count > 0
    assert turn.finished.usage.prompt_token_count >= turn.finished.usage.cached_token_count
    assert turn.finished.timings.compute_ms >= turn.finished.first_token_ms >= 0
    assert turn.events[0].ready.stream_id


async def test_ready_echoes_the_whole_configuration_in_effect_without_messages_and_tools(llm) -> None:
    turn = await llm.turn(
        HELLO, tools_json=json.dumps([LOOK_UP]), tool_choice_json='"none"', max_token_count=7, top_p=0.5, seed=-3
    )
    config = turn.events[0].ready.config
    assert (config.messages_json, config.tools_json) == ("", "")
    assert json.loads(config.tool_choice_json) == "none"
    assert config.model == llm.model.name
    assert config.max_token_count == 7
    assert (config.temperature, config.top_p, config.seed) == (0.0, 0.5, -3)
    assert config.HasField("temperature")
    assert not config.await_grants


async def test_the_server_s_limit_holds_when_the_caller_asks_for_none_or_for_more(llm) -> None:
    assert (await llm.turn(HELLO)).events[0].ready.config.max_token_count == 64
    assert (await llm.turn(HELLO, max_token_count=10_000)).events[0].ready.config.max_token_count == 64


async def test_a_turn_stops_at_its_most_tokens(llm) -> None:
    turn = await llm.turn(ASK, max_token_count=3)
    assert turn.finished.reason == llm_pb2.FINISH_REASON_LENGTH
    assert turn.finished.usage.output_token_count == 3


async def test_a_grant_before_config_is_refused(llm) -> None:
    assert "first request" in refused(await llm.send(llm.grant((1, 1))))


async def test_a_stream_without_a_request_is_refused(llm) -> None:
    assert "nothing" in refused(await llm.send())


async def test_a_second_config_is_refused(llm) -> None:
    call = await llm.resting(HELLO)
    await call.write(llm.config(HELLO))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "config" in raised.value.details()


async def test_a_grant_of_nothing_is_refused(llm) -> None:
    assert "token_count" in refused(await llm.turn(HELLO, (1, 0)))


@pytest.mark.parametrize(
    ("config", "field", "reason"),
    [
        ({"messages_json": "[{]"}, "messages_json", "INVALID_JSON"),
        ({"messages_json": "{}"}, "messages_json", "INVALID_JSON"),
        ({"messages_json": "[]"}, "messages_json", "NO_MESSAGES"),
        ({"messages_json": '[{"role": "wizard", "content": "Hi"}]'}, "messages_json[0].role", "UNKNOWN_ROLE"),
        ({"messages_json": '[{"role": ["user"], "content": "Hi"}]'}, "messages_json[0].role", "UNKNOWN_ROLE"),
        ({"messages_json": '[{"role": "user", "content": 1}]'}, "messages_json[0].content", "INVALID_MESSAGES"),
        ({"messages_json": '[{"role": "user", "content": [{"type": "image_url"}]}]'}, "content", "INVALID_MESSAGES"),
        ({"messages_json": '[{"role": "assistant", "tool_calls": [{}]}]'}, "tool_calls[0]", "INVALID_MESSAGES"),
        ({"messages_json": '[{"role": "assistant", "tool_calls": 5}]'}, "tool_calls", "INVALID_MESSAGES"),
        ({"messages_json": "[" * 100_000}, "messages_json", "INVALID_JSON"),
        ({"tools_json": "nope"}, "tools_json", "INVALID_JSON"),
        ({"tools_json": '[{"type": "function"}]'}, "tools_json[0]", "INVALID_TOOLS"),
        ({"tools_json": '[{"function": {"name": "a b"}}]'}, "tools_json[0]", "INVALID_TOOLS"),
        (
            {"tools_json": '[{"function": {"name": "a", "parameters": {"properties": 1}}}]'},
            "tools_json[0]",
            "INVALID_TOOLS",
        ),
        ({"tools_json": json.dumps([LOOK_UP, LOOK_UP])}, "tools_json", "INVALID_TOOLS"),
        ({"tool_choice_json": '"maybe"'}, "tool_choice_json", "INVALID_TOOL_CHOICE"),
        ({"tool_choice_json": '"required"'}, "tool_choice_json", "UNKNOWN_TOOL"),
        ({"tool_choice_json": '{"function": {"name": "fly"}}'}, "tool_choice_json", "UNKNOWN_TOOL"),
        ({"model": "gpt-9"}, "model", "UNKNOWN_MODEL"),
        ({"max_token_count": -1}, "max_token_count", None),
        ({"temperature": -0.1}, "temperature", None),
        ({"temperature": 2.1}, "temperature", None),
        ({"temperature": float("nan")}, "temperature", None),
        ({"top_p": 0.0}, "top_p", None),
        ({"top_p": 1.1}, "top_p", None),
    ],
)
async def test_a_configuration_that_is_wrong_is_refused_by_its_field(llm, config, field, reason) -> None:
    whole = {"messages_json": json.dumps(HELLO), **config}
    turn = await llm.send(llm_pb2.GenerateRequest(config=llm_pb2.GenerateConfig(**whole)))
    assert field in refused(turn, reason)
    assert turn.kinds == []


async def test_a_conversation_longer_than_the_context_is_refused_with_both_lengths(llm) -> None:
    turn = await llm.turn([{"role": "user", "content": "word " * 3000}])
    message = refused(turn, "CONTEXT_OVERFLOW")
    numbers = sorted(int(digits) for digits in re.findall(r"\d+", message))
    assert numbers[0] in (100, 2048)
    assert numbers[1] > numbers[0]


async def test_no_slot_is_said_at_once_and_a_cancel_frees_one(llm) -> None:
    calls = [await llm.resting(HELLO) for _ in range(2)]
    turn = await llm.turn(HELLO)
    assert turn.error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_reason(turn.error) == "NO_SLOT"
    for call in calls:
        call.cancel()
    await llm.idle()
    assert (await llm.turn(HELLO)).finished.reason == llm_pb2.FINISH_REASON_STOP


async def test_a_cancel_in_the_middle_of_the_text_frees_the_slot(llm) -> None:
    call = llm.stub.Generate(iter([llm.config(ASK)]))
    async for event in call:
        if event.WhichOneof("event") == "text":
            break
    call.cancel()
    await llm.idle()
    assert (await llm.turn(HELLO)).text


async def test_a_turn_that_is_left_counts_as_aborted_with_its_tokens(llm) -> None:
    def sampled(name: str, **labels: str) -> float:
        return llm.served.sample(name, **labels) or 0.0

    before = (
        sampled("antiphon_llm_tokens_total", kind="aborted"),
        sampled("antiphon_llm_finished_total", reason="aborted"),
    )
    call = await llm.resting(ASK)
    await call.write(llm.grant((1, 2)))
    while (await call.read()).WhichOneof("event") != "segment_done":
        pass
    call.cancel()
    await llm.idle()
    await llm.until(lambda: sampled("antiphon_llm_finished_total", reason="aborted") == before[1] + 1)
    assert sampled("antiphon_llm_tokens_total", kind="aborted") == before[0] + 2


async def test_nothing_is_generated_before_the_first_grant(llm) -> None:
    turn = await llm.send(llm.config(HELLO, await_grants=True))
    assert turn.kinds == ["ready", "finished"]
    assert turn.finished.reason == llm_pb2.FINISH_REASON_GRANTS_USED
    assert turn.finished.usage.output_token_count == 0


async def test_each_grant_is_used_up_in_order_and_the_last_one_ends_the_turn(llm) -> None:
    turn = await llm.turn(ASK, (7, 2), (9, 3))
    rests = [(e.segment_done.segment_id, e.segment_done.token_count) for e in turn.events if e.HasField("segment_done")]
    assert rests == [(7, 2), (9, 3)]
    assert turn.kinds[-2:] == ["segment_done", "finished"]
    assert turn.finished.reason == llm_pb2.FINISH_REASON_GRANTS_USED
    assert turn.finished.usage.output_token_count == 5


async def test_generation_rests_until_the_next_grant_comes(llm) -> None:
    whole = (await llm.turn(ASK, max_token_count=4)).text
    call = await llm.resting(ASK)
    text = ""
    for segment in range(2):
        await call.write(llm.grant((segment, 2)))
        while (event := await call.read()).WhichOneof("event") == "text":
            text += event.text.text
        assert event.segment_done.segment_id == segment
    await call.done_writing()
    assert (await call.read()).finished.reason == llm_pb2.FINISH_REASON_GRANTS_USED
    assert text.strip() == whole.strip()


async def test_grants_beyond_the_limit_end_the_turn_by_its_length(llm) -> None:
    turn = await llm.turn(ASK, (1, 2), (2, 50), max_token_count=4)
    assert turn.finished.reason == llm_pb2.FINISH_REASON_LENGTH
    assert turn.finished.usage.output_token_count == 4


async def test_a_grant_may_go_on_to_the_end_of_a_sentence(llm) -> None:
    turn = await llm.turn(STORY, (1, 1, 60), (2, 1, 4))
    first, *others = [e.segment_done.token_count for e in turn.events if e.HasField("segment_done")] or [60]
    assert 1 < first <= 60
    assert all(1 < count <= 4 for count in others)
    upto = turn.kinds.index("segment_done") if others else len(turn.events)
    text = "".join(event.text.text for event in turn.events[:upto])
    assert SENTENCE_END.search(text) or first == 60
    assert not others or len(SENTENCE_END.findall(text)) <= 1


async def test_whole_clauses_are_said_and_what_is_held_back_is_not_lost(llm) -> None:
    whole = (await llm.turn(STORY, max_token_count=48)).text
    turn = await llm.turn(STORY, *((number, 12, 0, True) for number in range(4)), max_token_count=48)
    segments, text = [], ""
    for event in turn.events:
        text += event.text.text
        if event.WhichOneof("event") in ("segment_done", "finished"):
            segments.append(text)
            text = ""
    assert "".join(segments) == whole
    # All but the end of a turn ends with a clause, or has none.
    for segment in segments[:-1]:
        ends = [match.end() for match in CLAUSE_END.finditer(segment)]
        assert not ends or ends[-1] == len(segment)


async def test_a_grant_for_less_than_its_least_is_refused(llm) -> None:
    assert "most_token_count" in refused(await llm.turn(HELLO, (0, 5, 4)))


async def test_an_answer_that_ends_within_a_grant_has_no_rest(llm) -> None:
    turn = await llm.turn(HELLO, (1, 60))
    assert turn.finished.reason == llm_pb2.FINISH_REASON_STOP
    assert "segment_done" not in turn.kinds


async def test_characters_that_cannot_be_carried_do_no_harm(llm) -> None:
    turn = await llm.turn('[{"role": "user", "content": "Hi \\ud800 \\u0000 \\u001e there"}]')
    assert turn.finished.reason in (llm_pb2.FINISH_REASON_STOP, llm_pb2.FINISH_REASON_LENGTH)


async def test_a_required_call_is_made_or_refused_and_nothing_is_said(llm) -> None:
    turn = await llm.turn(ASK, tools_json=json.dumps([LOOK_UP]), tool_choice_json='"required"')
    if turn.error:  # llama.cpp's server does not make this model call, and vLLM has no parser for its calls
        refused(turn)
        assert error_reason(turn.error) in ("NO_CALL_MADE", "REFUSED_BY_MODEL")
        assert turn.kinds == ["ready"]
        return
    assert turn.finished.reason == llm_pb2.FINISH_REASON_TOOL_CALLS
    assert turn.text == ""
    assert [call.name for call in turn.calls] == ["look_up"]
    assert turn.calls[0].call_id
    assert isinstance(json.loads(turn.calls[0].arguments_json), dict)


async def test_fifty_turns_leave_no_slot_and_no_task(llm) -> None:
    await llm.turn(HELLO)
    before = len(asyncio.all_tasks())
    for number in range(50):
        await llm.turn(HELLO, *([(1, 1)] if number % 2 else []), max_token_count=2)
    await llm.idle()
    await llm.until(lambda: len(asyncio.all_tasks()) <= before)


async def test_what_turns_cost_is_counted(llm) -> None:
    before = llm.served.sample("antiphon_llm_tokens_total", kind="output")
    turn = await llm.turn(HELLO)
    after = llm.served.sample("antiphon_llm_tokens_total", kind="output")
    for name in ("queue", "first_token", "first_sentence", "inter_token", "turn"):
        assert llm.served.sample(f"antiphon_llm_{name}_seconds_count") > 0, name
    assert llm.served.sample("antiphon_llm_tokens_per_second_count") > 0
    assert after - before == turn.finished.usage.output_token_count
    assert llm.served.sample("antiphon_llm_first_token_seconds_count") > 0
