"""Named agents from one YAML file: what each says, how it sounds, what it can do."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from antiphon_runtime.errors import ConfigError

from .tools import TOOLS

# Of any time in a call: a day.
LONGEST_S = 86_400


class Example(BaseModel):
    """A turn of the conversation that the model is shown before the real one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str
    assistant: str


class Phrases(BaseModel):
    """Phrases that the agent says of its own accord: None selects its language's default, "" disables the phrase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    apology: str | None = None
    farewell: str | None = None
    goodbye: str | None = None
    filler: str | None = None
    prompt: str | None = None
    time_up: str | None = None


class Agent(BaseModel):
    """One agent. Whatever is left out is the services' own default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system_prompt: str = Field(min_length=1)
    examples: tuple[Example, ...] = ()
    greeting: str = ""
    voice: str = ""
    language: str = ""
    model: str = ""
    tools: tuple[str, ...] = ()
    knowledge_file: Path | None = None
    max_token_count: int = Field(default=96, ge=1, le=4096)
    llm_calls_per_turn: float = Field(default=1.75, ge=1, le=4)
    summarize_at_token_count: int = Field(default=0, ge=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    turn_policy: Literal["fused", "smart-turn", "fixed-pause"] = "fused"
    first_pause_ms: int = Field(default=64, ge=32, le=200)
    phrases: Phrases = Phrases()
    idle_after_s: float = Field(default=20, ge=0, le=LONGEST_S)
    max_call_s: float = Field(default=3600, gt=0, le=LONGEST_S)
    max_tool_rounds: int = Field(default=5, ge=1, le=50)
    tool_timeout_s: float = Field(default=10, gt=0, le=3600)
    answer_within_s: float = Field(default=12, gt=0)
    filler_after_s: float = Field(default=1.5, gt=0)
    allow_send_text: bool = False
    asr_context_ms: int = Field(default=0, ge=0)
    tts_mode: Literal["", "batch", "stream", "hybrid"] = ""

    @field_validator("tools")
    @classmethod
    def _known(cls, tools: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(tools) - set(TOOLS)):
            raise ValueError(f"unknown tool {', '.join(unknown)}: there are {', '.join(sorted(TOOLS))}")
        return tools

    def prompt(self) -> list[dict[str, Any]]:
        """Return the messages that precede every conversation, in OpenAI format."""
        return [{"role": "system", "content": self.system_prompt}, *self.messages()]

    def messages(self) -> list[dict[str, Any]]:
        """The context that a conversation starts with, the system prompt aside."""
        messages: list[dict[str, Any]] = []
        for example in self.examples:
            messages.append({"role": "user", "content": example.user})
            messages.append({"role": "assistant", "content": example.assistant})
        return messages


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    default: str
    agents: dict[str, Agent] = Field(min_length=1)


class Agents:
    """The agents there are, one of them the default."""

    def __init__(self, default: str, agents: dict[str, Agent]) -> None:
        self.default = default
        self._agents = agents

    @property
    def names(self) -> list[str]:
        return sorted(self._agents)

    def get(self, name: str) -> Agent | None:
        """The named agent, the default one for "", None when there is none of that name."""
        return self._agents.get(name or self.default)

    @classmethod
    def load(cls, path: Path) -> "Agents":
        """Raises ConfigError when the file cannot be read, or says what is wrong with which field."""
        try:
            content = yaml.safe_load(path.read_text())
            file = _File.model_validate(content)
        except OSError as error:
            raise ConfigError(f"agents file {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"agents file {path} is not YAML: {error}") from error
        except ValidationError as error:
            raise ConfigError(f"agents file {path}: {'; '.join(map(_problem, error.errors()))}") from error
        if file.default not in file.agents:
            raise ConfigError(f"agents file {path}: default {file.default!r} is none of {', '.join(file.agents)}")
        return cls(file.default, {name: _placed(agent, name, path) for name, agent in file.agents.items()})


def _problem(problem: ErrorDetails) -> str:
    """One mistake: where it is, what is wrong, and what there is instead."""
    place, message = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        models: dict[int, type[BaseModel]] = {1: _File, 3: Agent}
        parts: type[BaseModel] = Phrases if "phrases" in problem["loc"] else Example
        known = models.get(len(problem["loc"]), parts).model_fields
        message = f"unknown field: there are {', '.join(sorted(known))}"
    return f"{place}: {message}" if place else message


def _placed(agent: Agent, name: str, agents_file: Path) -> Agent:
    """The agent with its knowledge file found from the agents file's folder."""
    place = f"agents file {agents_file}: agents.{name}.knowledge_file"
    if agent.knowledge_file is None:
        if "look_up" in agent.tools:
            raise ConfigError(f"{place}: the tool look_up needs one")
        return agent
    path = agents_file.parent / agent.knowledge_file
    if not path.is_file():
        raise ConfigError(f"{place}: {path} is not there")
    return agent.model_copy(update={"knowledge_file": path})
