from pathlib import Path

import pytest

from antiphon_orchestrator.agents import Agents
from antiphon_orchestrator.settings import BUILT_IN_AGENTS
from antiphon_runtime.errors import ConfigError

WHOLE = """
default: ava
agents:
  ava:
    system_prompt: You are Ava.
    examples: [{user: "Who are you?", assistant: I am Ava.}]
    greeting: Hello.
    voice: tone
    language: en-US
    model: stub
    tools: [get_time, look_up]
    knowledge_file: facts.txt
    max_token_count: 12
    temperature: 0.5
    turn_policy: fixed-pause
    asr_context_ms: 560
    tts_mode: batch
  bob:
    system_prompt: You are Bob.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "facts.txt").write_text("Tea is green.\n")
    return tmp_path


def load(folder: Path, content: str) -> Agents:
    path = folder / "agents.yaml"
    path.write_text(content)
    return Agents.load(path)


def refusal(folder: Path, content: str) -> str:
    """What is said of a file, which must name it."""
    with pytest.raises(ConfigError) as caught:
        load(folder, content)
    message = str(caught.value)
    assert str(folder) in message
    return message


def test_the_bundled_file_loads() -> None:
    agents = Agents.load(BUILT_IN_AGENTS)
    default = agents.get("")
    assert default is agents.get(agents.default)
    assert default and default.prompt()[0] == {"role": "system", "content": default.system_prompt}


def test_a_whole_file_is_what_it_says(folder: Path) -> None:
    agents = load(folder, WHOLE)
    ava, bob = agents.get("ava"), agents.get("bob")
    assert agents.names == ["ava", "bob"]
    assert ava and ava.tools == ("get_time", "look_up") and ava.turn_policy == "fixed-pause"
    assert ava.knowledge_file == folder / "facts.txt"
    assert (ava.asr_context_ms, ava.tts_mode) == (560, "batch")
    assert ava.prompt() == [
        {"role": "system", "content": "You are Ava."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "I am Ava."},
    ]
    assert ava.messages() == ava.prompt()[1:]
    assert bob and (bob.tools, bob.greeting, bob.turn_policy) == ((), "", "fused")


def test_no_name_is_the_default_and_an_unknown_one_is_nobody(folder: Path) -> None:
    agents = load(folder, WHOLE)
    assert agents.get("") is agents.get("ava")
    assert agents.get("eve") is None


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read: No such file"):
        Agents.load(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("content", ["default: [", "\tdefault: ava"])
def test_what_is_not_yaml_is_refused_with_the_place(folder: Path, content: str) -> None:
    assert "is not YAML" in refusal(folder, content)


def test_a_file_that_is_not_text_is_refused(folder: Path) -> None:
    path = folder / "agents.yaml"
    path.write_bytes(b"default: \xff\xfe")
    with pytest.raises(ConfigError, match="is not YAML"):
        Agents.load(path)


@pytest.mark.parametrize("content", ["", "just words", "[1, 2]"])
def test_what_is_no_mapping_is_refused(folder: Path, content: str) -> None:
    assert "valid dictionary" in refusal(folder, content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("default: ava", ""), ["default: Field required"]),
        (("default: ava", "default: eve"), ["default 'eve' is none of ava, bob"]),
        (("You are Bob.", "''"), ["agents.bob.system_prompt", "at least 1 character"]),
        (("    system_prompt: You are Bob.", "    voice: tone"), ["agents.bob.system_prompt: Field required"]),
        (("voice: tone", "voise: tone"), ["agents.ava.voise: unknown field", "voice"]),
        (("default: ava", "default: ava\nagnets: {}"), ["agnets: unknown field: there are agents, default"]),
        (
            ("assistant: I am Ava.", "agent: I am Ava."),
            ["agents.ava.examples.0.agent: unknown field: there are assistant, user"],
        ),
        (("[get_time, look_up]", "[get_tea]"), ["agents.ava.tools: unknown tool get_tea: there are get_time, look_up"]),
        (("knowledge_file: facts.txt", "greeting2: x"), ["agents.ava.greeting2: unknown field"]),
        (("    knowledge_file: facts.txt\n", ""), ["agents.ava.knowledge_file: the tool look_up needs one"]),
        (("facts.txt", "lies.txt"), ["agents.ava.knowledge_file", "lies.txt is not there"]),
        (("max_token_count: 12", "max_token_count: 0"), ["agents.ava.max_token_count", "greater than or equal to 1"]),
        (
            ("max_token_count: 12", "max_token_count: 5000"),
            ["agents.ava.max_token_count", "less than or equal to 4096"],
        ),
        (("temperature: 0.5", "temperature: 3"), ["agents.ava.temperature", "less than or equal to 2"]),
        (("temperature: 0.5", "temperature: warm"), ["agents.ava.temperature", "valid number"]),
        (
            ("turn_policy: fixed-pause", "turn_policy: soon"),
            ["agents.ava.turn_policy", "'fused', 'smart-turn' or 'fixed-pause'"],
        ),
        (("greeting: Hello.", "greeting: [Hello]"), ["agents.ava.greeting", "valid string"]),
    ],
)
def test_a_mistake_is_refused_with_its_field_and_what_is_allowed(
    folder: Path, change: tuple[str, str], said: list[str]
) -> None:
    assert change[0] in WHOLE
    message = refusal(folder, WHOLE.replace(*change))
    for words in said:
        assert words in message


def test_a_file_without_agents_is_refused(folder: Path) -> None:
    assert "agents: Dictionary should have at least 1 item" in refusal(folder, "default: ava\nagents: {}")


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    message = refusal(folder, WHOLE.replace("temperature: 0.5", "temperature: 3").replace("tone", "[]"))
    assert "agents.ava.temperature" in message and "agents.ava.voice" in message
