"""The llama.cpp backend's parts that need no model."""

import json
from collections.abc import Sequence

import grpc
import pytest

from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc
from antiphon_llm.backends.llamacpp.calls import Calls
from antiphon_llm.backends.llamacpp.fitting import fitted
from antiphon_llm.backends.llamacpp.grammar import tool_grammar
from antiphon_llm.backends.llamacpp.places import Places
from antiphon_llm.backends.llamacpp.prompt import prompt
from antiphon_llm.backends.stub import StubModel, StubSettings
from antiphon_llm.conversation import Choice, Message, Tool, read_messages
from antiphon_llm.grants import Allowance, Grant, Grants
from antiphon_llm.service import SERVICE, build
from antiphon_llm.settings import Settings
from antiphon_runtime.errors import BackendFailed, InvalidInput
from antiphon_runtime.rpc import error_reason
from antiphon_runtime.testing import collect, serving

NONE = Choice("none")


def take(places: Places, whole: str, answered: str = "") -> int:
    """The slot of a turn that is over at once."""
    with places.hold(whole, answered) as index:
        return index


def test_a_conversation_stays_in_its_slot_and_another_gets_a_fresh_one() -> None:
    places = Places(2)
    first = take(places, "S a1")
    second = take(places, "S b1")
    assert first != second
    assert take(places, "S a1 A a2", "S a1 A") == first
    assert take(places, "S b1 B b2", "S b1 B") == second


def test_a_changed_last_question_stays_in_its_conversation_s_slot() -> None:
    places = Places(2)
    take(places, "S b1")
    slot = take(places, "S a1")
    take(places, "S a1 A what", "S a1 A")
    assert take(places, "S a1 A where", "S a1 A") == slot


def test_with_no_fresh_slot_the_one_used_least_recently_is_taken() -> None:
    places = Places(2)
    oldest, newest = take(places, "S a1"), take(places, "S b1")
    take(places, "S b1 B b2", "S b1 B")
    assert take(places, "S c1") == oldest
    assert take(places, "S b1 B b2 B b3", "S b1 B b2 B") == newest


def test_a_slot_that_is_held_is_not_given_out() -> None:
    places = Places(2)
    with places.hold("S a1", "") as held:
        assert take(places, "S a1 A a2", "S a1 A") != held


def test_warm_slots_are_used_one_by_one() -> None:
    places = Places(3)
    places.warmed("S")
    assert len({take(places, f"S {name}") for name in "abc"}) == 3


def test_tools_and_results_become_plain_turns() -> None:
    call = {"id": "x", "function": {"name": "look_up", "arguments": '{"query": "whales"}'}}
    messages = read_messages(
        json.dumps(
            [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "Look up"},
                {"role": "user", "content": "whales."},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "x", "content": "Big."},
            ]
        )
    )
    tool = Tool("look_up", "Searches the web", {"properties": {"query": {"type": "string"}}})
    asked = prompt(messages, [tool], Choice("auto"), "system")
    assert [(turn.role, turn.text) for turn in asked.turns[1:]] == [
        ("user", "Look up\nwhales."),
        ("assistant", '{"tool": "look_up", "arguments": {"query": "whales"}}'),
        ("system", "look_up returned: Big."),
    ]
    assert asked.turns[0].text.startswith("Be brief.\nTools: look_up(query): Searches the web.")
    assert asked.whole.startswith(asked.answered)
    assert asked.answered.endswith('whales"}}')


def test_an_answer_is_not_gone_on_with_when_it_is_the_last_message() -> None:
    asked = prompt([Message("user", "Hi."), Message("assistant", "Hello.")], (), NONE, "system")
    assert (asked.turns[-1].role, asked.turns[-1].text) == ("user", "")
    assert asked.grammar == ""


def test_a_grammar_names_each_tool_and_lets_words_through_only_when_no_call_is_required() -> None:
    tools = [Tool("a", "", {}), Tool("b", "", {"properties": {"n": {"enum": ["x", 2]}}, "required": ["n"]})]
    free, bound = tool_grammar(tools, required=False), tool_grammar(tools, required=True)
    assert free.startswith("root ::= calls | text\ncalls ::= call\n")
    assert 'calls ::= call ("\\n" call){0,2}\n' in tool_grammar(tools, required=True, most=3)
    assert "text ::=" not in bound
    assert r'"{\"tool\": \"b\", \"arguments\": "' in bound
    assert r'("\"x\"" | "2")' in bound


@pytest.mark.parametrize(
    ("pieces", "used"),
    [
        (["One", " two", " three"], 3),
        (["One", ".", " Two", " three", " four"], 3),
        (["One", " two", ".", " Three", " four"], 4),
        (["一", "二", "。", "三"], 3),
        (["Pi", " is", " 3", ".", "14", " or", " so", ".", " Yes"], 6),
        (["It", ' "', "is", '."', " So"], 5),
    ],
)
def test_an_allowance_of_two_goes_on_until_a_sentence_ends_or_six(pieces: list[str], used: int) -> None:
    allowance = Allowance(2, 6)
    for piece in pieces:
        if not allowance.spend(piece):
            break
    assert allowance.used == used


async def test_who_waits_for_a_grant_too_long_is_told() -> None:
    grants = Grants(timeout_s=0.01)
    await grants.add(Grant(1, 2))
    assert (await grants.next()) == Grant(1, 2)
    with pytest.raises(InvalidInput, match="no grant came within"):
        await grants.next()


async def test_a_granter_that_stalls_loses_the_slot_and_only_that() -> None:
    settings = Settings(bind="127.0.0.1:0", grace_s=0.0, slots=1, grant_timeout_s=0.1)
    model = StubModel(StubSettings(script="One two three."))
    async with serving(SERVICE, build(settings, load=lambda _: model), settings) as served:
        stub = llm_pb2_grpc.LlmServiceStub(served.channel)
        call = stub.Generate()
        config = llm_pb2.GenerateConfig(messages_json='[{"role": "user", "content": "Hi."}]', await_grants=True)
        await call.write(llm_pb2.GenerateRequest(config=config))
        assert (await call.read()).HasField("ready")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert error_reason(raised.value) == "GRANT_TIMEOUT"
        config.await_grants = False
        events, error = await collect(stub.Generate(iter([llm_pb2.GenerateRequest(config=config)])))
        assert error is None
        assert events[-1].finished.reason == llm_pb2.FINISH_REASON_STOP


def test_no_room_is_made_by_leaving_out_whole_turns_the_oldest_first() -> None:
    def count(messages: Sequence[Message]) -> int:
        return sum(len(message.text) for message in messages)

    talk = [Message("system", "s" * 10), *(Message(role, "x" * 10) for _ in range(9) for role in ("user", "assistant"))]
    assert fitted(talk, 200, 10, count) == (talk, 0)
    kept, dropped = fitted(talk, 120, 20, count)
    assert (kept[0], dropped % 2) == (talk[0], 0)
    assert kept[1].role == "user"
    assert count(kept) + 20 <= 120
    # What is left out stays the same until the room that was made is full.
    cuts = [fitted(talk[:size], 120, 20, count)[1] for size in range(2, len(talk) + 1, 2)]
    assert cuts == sorted(cuts)
    assert len(set(cuts)) < len(cuts) - 3
    with pytest.raises(InvalidInput, match="last turn has 130 tokens"):
        fitted([Message("system", "s" * 30), Message("user", "x"), Message("user", "x" * 100)], 120, 20, count)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read_line_by_line_in_pieces_of_any_size(size: int) -> None:
    text = '{"tool": "a", "arguments": {"x": {"y": "}"}}}\n{"tool": "b", "arguments": {}}'
    calls, parts = Calls(), []
    for start in range(0, len(text), size):
        parts += calls.read(text[start : start + size])
    made = calls.whole()
    assert [(call.name, json.loads(call.arguments_json)) for call in made] == [("a", {"x": {"y": "}"}}), ("b", {})]
    for number, call in enumerate(made):
        own = [part for part in parts if part.index == number]
        assert {(part.call_id, part.name) for part in own} == {(call.call_id, call.name)}
        assert json.loads("".join(part.arguments_json for part in own)) == json.loads(call.arguments_json)
    with pytest.raises(BackendFailed, match="a call that is none"):
        broken = Calls()
        broken.read('{"tool": "a", "arguments": {')
        broken.whole()
