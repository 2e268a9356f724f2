"""The scripted conversation: its rules can be kept, and notice when they are not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon_bench.dialogue.bench import figures, hold, table
from antiphon_bench.dialogue.importing import imported
from antiphon_bench.dialogue.knowledge import events, knowledge
from antiphon_bench.dialogue.rules import score, shares
from antiphon_bench.dialogue.script import SCRIPT, TOOLS, Scripted
from antiphon_bench.errors import BadScript
from antiphon_bench.process import running

# What an agent says who keeps to all rules; "tool:" ones are followed by what it says about the result.
GOLDEN = """It is a festival of talks and tastings in the old docks, from Friday the 12th to Sunday the 14th of June.
A weekend pass is 95 euros.
The five year old comes in free with you, the nine year old pays.
Take tram line 4 to Customs House.
That is Ana Sofia Reyes, in Listening to Glaciers.
It is on Friday at 11:30.
It is in the Harbour Hall.
tool:check_places {"title": "Listening to Glaciers"}
Yes, there are 87 places left.
tool:reserve {"title": "Listening to Glaciers", "name": "Dana Whitfield", "places": 2}
Done, your reservation is K417.
Yes, Bread Before Wheat with Jonas Lindqvist.
It is 18 euros for each person.
tool:note_diet {"name": "Dana Whitfield", "diet": "no gluten"}
I have noted that Dana eats no gluten.
I am sorry, I do not know that.
That is Jazz for Whales.
Yes, dogs are welcome in the Dry Dock.
No, dogs are not allowed in the Kitchen Lab.
I am afraid not, there are forty-two stairs and no lift.
Sorry, I can only help with the festival.
The Moonrise Concert is there on Saturday.
tool:reserve {"title": "Moonrise Concert", "name": "Marcus Whitfield", "places": 4}
Your reservation is M203.
tool:cancel_reservation {"reservation": "K417"}
It is cancelled.
No, for changed minds that ends 48 hours before.
Groups of ten or more are booked by the groups desk.
He has Fermented on Saturday at 17:30.
Little Surgeons is for children from ten years on.
I cannot give medical advice, but first aid is at the Garden Tent.
tool:send_programme {"email": "dana@example.com"}
It is on its way.
It closes at 20:30.
You first asked about the glaciers.
tool:end_call {}
Goodbye, and see you in June.""".splitlines()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def golden(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    own = {"STUB__SCRIPT": "|".join(GOLDEN), "STUB__N_CTX": "100000", "SLOTS": "1"}
    async with running("llm", "stub", own, tmp_path_factory.mktemp("logs") / "llm.log") as llm:
        yield llm.target


@pytest.mark.asyncio(loop_scope="module")
async def test_all_thirty_turns_can_pass(golden: str) -> None:
    held = await hold(golden, SCRIPT, TOOLS, knowledge())
    failed = [(one.line, one.answer.text, one.answer.error, one.score) for one in held if not one.score.passed]
    assert len(held) == 30
    assert failed == []
    found = figures([held])
    assert (found["passed"], found["median"]) == (1.0, 1.0)
    assert found["ttfb_max"] >= found["ttfb_p50"] > 0
    assert table("stub", [held]).splitlines()[-1].startswith("| stub | 100.0% | 100.0% | 100.0% | 100.0% | 100.0% |")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_turn_that_fails_is_scored_and_the_call_goes_on() -> None:
    held = await hold("127.0.0.1:1", SCRIPT[:2], TOOLS, "")
    assert [one.score.passed for one in held] == [False, False]
    assert "UNAVAILABLE" in held[0].answer.error
    assert figures([held])["ttfb_p50"] is None


def test_the_knowledge_is_about_twelve_thousand_tokens() -> None:
    # English has about four tokens in three words.
    assert 9_000 < len(knowledge().split()) < 11_000
    assert len({event.title for event in events()}) == len(events()) == 47
    assert len(knowledge(3)) < len(knowledge()) / 8


@pytest.mark.parametrize(
    ("answer", "calls", "expected"),
    [
        ("It is K417.", [("reserve", '{"title": "The Glaciers!", "places": "2"}')], (True, True, True)),
        ("It is K417.", [], (False, True, True)),
        ("It is K417.", [("reserve", '{"title": "The Glaciers", "places": 3}')], (False, True, True)),
        ("It is K417.", [("reserve", "{]")], (False, True, True)),
        ("It is K417.", [("reserve", '{"title": "glaciers", "places": 2}')] * 2, (False, True, True)),
        ("It is **K417**.", [("reserve", '{"title": "glaciers", "places": 2}')], (True, False, True)),
        ("It is K417 in room 9.", [("reserve", '{"title": "glaciers", "places": 2}')], (True, True, False)),
        ("word " * 61 + "K417", [("reserve", '{"title": "glaciers", "places": 2}')], (True, False, True)),
        ("Done, sir.", [("reserve", '{"title": "glaciers", "places": 2}')], (True, False, False)),
        ("", [("reserve", '{"title": "glaciers", "places": 2}')], (True, False, False)),
    ],
)
def test_each_rule_notices_what_it_is_for(
    answer: str, calls: list[tuple[str, str]], expected: tuple[bool, bool, bool]
) -> None:
    due = Scripted("Two, please.", "reserve", {"title": "glaciers", "places": 2}, None, (r"K417",), never=(r"\bsir\b",))
    found = score(due, answer, calls, "K417 is known.")
    assert (found.tool_use, found.instruction, found.grounding) == expected
    assert found.passed == all(expected)
    assert shares([found, found])["passed"] == float(all(expected))


def test_a_benchmark_of_that_form_is_imported(tmp_path: Path) -> None:
    call = {"name": "vote", "args": {"session": "936902"}}
    turns = [
        {"input": "Hello.", "golden_text": "Hi there.", "required_function_call": None, "function_call_response": None},
        {
            "input": "Vote.",
            "golden_text": "Vote 7 is in.",
            "required_function_call": call,
            "function_call_response": {},
        },
    ]
    (tmp_path / "turns.py").write_text(f"turns = {turns!r}\n")
    (tmp_path / "knowledge_base.txt").write_text("Seven talks.")
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS[:1]))
    script, tools, known = imported(tmp_path)
    assert [(turn.line, turn.call) for turn in script] == [("Hello.", ""), ("Vote.", "vote")]
    assert (len(tools), known) == (1, "Seven talks.")
    assert score(script[1], "Your vote, 7, is in.", [("vote", '{"session": 936902}')], "7").passed
    (tmp_path / "turns.py").write_text("turns = [{'output': 1}]\n")
    with pytest.raises(BadScript, match="no benchmark"):
        imported(tmp_path)
