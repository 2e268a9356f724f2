from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipecat.adapters.llm.schemas.direct_function import DirectFunctionWrapper

from antiphon_orchestrator.tools import TOOLS, Resources, best_match, get_time, look_up, read_knowledge

FACTS = ("The office opens at nine.", "Green tea is from China.", "The lift is broken.")


class Call:
    """What a tool is given of its call, and what it answered."""

    def __init__(self, resources: Resources) -> None:
        self.app_resources = resources
        self.answer: Any = None

    async def result_callback(self, answer: Any) -> None:
        self.answer = answer


async def asked(tool: Any, resources: Resources, **arguments: str) -> Any:
    call = Call(resources)
    await tool(call, **arguments)
    return call.answer


async def test_get_time_tells_the_clocks_time() -> None:
    noon = Resources(clock=lambda: datetime(2026, 3, 4, 12, 5, tzinfo=UTC))
    assert await asked(get_time, noon) == {"time": "12:05", "date": "Wednesday, March 04 2026", "zone": "UTC"}


async def test_look_up_gives_the_paragraph_that_shares_most_words() -> None:
    assert await asked(look_up, Resources(FACTS), query="Where is green TEA from?") == {"found": FACTS[1]}


async def test_look_up_says_when_nothing_was_found() -> None:
    assert await asked(look_up, Resources(FACTS), query="bananas") == {"error": "nothing found"}
    assert await asked(look_up, Resources(), query="tea") == {"error": "nothing found"}


def test_the_first_of_equal_matches_wins() -> None:
    assert best_match({"the"}, FACTS) == FACTS[0]


def test_knowledge_is_a_files_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "facts.txt"
    path.write_text("\n\nOne.\nStill one.\n\n \t \nTwo.\n\n\n")
    assert read_knowledge(path) == ("One.\nStill one.", "Two.")
    assert read_knowledge(None) == ()


def test_every_tool_tells_the_model_what_it_is_for() -> None:
    for name, tool in TOOLS.items():
        schema = DirectFunctionWrapper(tool).to_function_schema()
        assert schema.name == name
        assert schema.description
        assert all(one["description"] for one in schema.properties.values())
