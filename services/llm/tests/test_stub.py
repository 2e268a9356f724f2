"""The stub's exact words, which tests of the pipeline rely on."""

import json
import time

import pytest

from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc
from antiphon_llm.backends import Done, Generation, Sampling
from antiphon_llm.backends.stub import FIRST_SEGMENT, NEXT_TOKEN, SEGMENT_TOKENS, StubModel, StubSettings
from antiphon_llm.conversation import Choice, Message
from antiphon_llm.grants import Grants
from antiphon_llm.service import SERVICE, build
from antiphon_llm.settings import Settings
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.rpc import error_reason
from antiphon_runtime.testing import collect, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOOLS = json.dumps([{"type": "function", "function": {"name": "look_up"}}])


def user(*texts: str) -> list[dict]:
    """A conversation in which the user has said these texts, each but the last one answered."""
    messages = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return messages[:-1]


async def test_the_turn_s_number_picks_the_answer_word_by_word(stub_llm) -> None:
    turn = await stub_llm.turn(user("Hi."))
    assert [event.text.text for event in turn.events[1:-1]] == ["One ", "two ", "three ", "four ", "five ", "six."]
    assert (await stub_llm.turn(user("Hi.", "Bye."))).text == "You said Bye."


async def test_after_the_last_answer_comes_the_first(stub_llm) -> None:
    assert (await stub_llm.turn(user("1", "2", "3", "4", "5"))).text == "One two three four five six."


async def test_a_scripted_call_is_made_when_its_tool_is_given_and_said_when_it_is_not(stub_llm) -> None:
    turn = await stub_llm.turn(user("1", "2", "3"), tools_json=TOOLS)
    assert [(call.name, json.loads(call.arguments_json)) for call in turn.calls] == [("look_up", {"query": "whales"})]
    assert turn.finished.reason == llm_pb2.FINISH_REASON_TOOL_CALLS
    assert (await stub_llm.turn(user("1", "2", "3"))).text.startswith("tool:look_up")


async def test_the_answer_after_a_tool_s_result_is_the_next_one(stub_llm) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    result = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "a", "content": "Big."}]
    turn = await stub_llm.turn([*user("1", "2", "3"), *result], tools_json=TOOLS)
    assert turn.text == "They are large."


async def test_words_are_tokens_and_those_before_the_last_answer_are_cached(stub_llm) -> None:
    usage = (await stub_llm.turn(user("one two three", "four five"))).finished.usage
    assert (usage.prompt_token_count, usage.cached_token_count, usage.output_token_count) == (6, 4, 4)


@pytest.mark.parametrize("answer", ["Yes, of course I can. And more of it, later.", "word " * 60])
async def test_a_profile_delays_the_first_segment_and_what_is_reported_is_the_first_token(answer: str) -> None:
    model = StubModel(StubSettings(profile="rtx5090", script=answer))
    segment = 5 if "." in answer else SEGMENT_TOKENS
    generation = Generation((Message("user", "Hi"),), (), Choice("auto"), Sampling(0.0, 1.0), 100)
    started = time.monotonic()
    async with model.generate(generation, Grants()) as events:
        seen = [(event, time.monotonic() - started) async for event in events]
    done, at_s = seen[-1][0], [after_s for _, after_s in seen]
    assert at_s[segment - 1] >= FIRST_SEGMENT["rtx5090"].at(0.0)
    assert isinstance(done, Done) and at_s[0] >= done.first_token_s
    # The segment's other tokens are a part of its time.
    assert done.first_token_s <= FIRST_SEGMENT["rtx5090"].at(1.0) - (segment - 1) * NEXT_TOKEN["rtx5090"].at(0.0)


async def test_a_script_without_an_answer_or_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="SCRIPT"):
        StubModel(StubSettings(script=" | "))
    with pytest.raises(ConfigError, match="rtx5090"):
        StubModel(StubSettings(profile="abacus"))


async def test_a_grant_that_is_not_awaited_ends_the_turn(stub_llm) -> None:
    slow = StubModel(StubSettings(profile="dgx-spark"))  # its first token comes after 343 ms, the grant long before
    settings = Settings(bind="127.0.0.1:0", grace_s=0.0)
    async with serving(SERVICE, build(settings, load=lambda _: slow), settings) as served:
        requests = [stub_llm.config(user("Hi.")), stub_llm.grant((1, 1))]
        events, error = await collect(llm_pb2_grpc.LlmServiceStub(served.channel).Generate(iter(requests)))
    assert error_reason(error) == "GRANT_NOT_AWAITED"
    assert [event.WhichOneof("event") for event in events] == ["ready"]
