"""The llama.cpp backend's parts that need no model."""

import json

from antiphon_llm.backends.llamacpp.grammar import tool_grammar
from antiphon_llm.backends.llamacpp.places import Places
from antiphon_llm.backends.llamacpp.prompt import prompt
from antiphon_llm.conversation import Choice, Message, Tool, read_messages

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
    assert free.startswith("root ::= call | text\n")
    assert "text ::=" not in bound
    assert r'"{\"tool\": \"b\", \"arguments\": "' in bound
    assert r'("\"x\"" | "2")' in bound
