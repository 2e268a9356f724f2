"""The loaded model: turns on the engine's slots."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Self

from antiphon_runtime.errors import ConfigError, InvalidInput
from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings
from antiphon_runtime.weights import require

from ...conversation import Choice, Message, read_messages, read_tools
from ...grants import Grants
from ...settings import Settings
from ...weights import SMOLLM2, SMOLLM2_FILE
from .. import Event, Generation
from .engine import Engine
from .fitting import fitted
from .job import Request
from .library import opened
from .places import Places
from .prompt import Prompt, prompt
from .sampler import SEEDS
from .settings import LlamaCppSettings
from .template import Template
from .turn import Turn
from .weights import Weights

# The share of the context that is kept for an answer, when the turn may be so long.
ANSWER = 4


class LlamaCpp:
    def __init__(self, engine: Engine, template: Template, own: LlamaCppSettings, slots: int, path: Path) -> None:
        self.name = path.stem
        self.path = path
        self.engine = engine
        self._template = template
        self._own = own
        self._places = Places(slots)

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Raises ConfigError when the weights, the warm prompt or the library are not as they must be."""
        own = read_settings(LlamaCppSettings)
        path = own.model_path or require(own.models_dir, SMOLLM2) / SMOLLM2_FILE
        if not path.is_file():
            raise ConfigError(f"there is no model at {path}")
        warm = _warm_prompt(own)
        weights = Weights(opened(), path, own.gpu_layers)
        template = Template(weights.template, bos=weights.bos, eos=weights.eos)
        model = cls(Engine(own, weights, settings.slots), template, own, settings.slots, path)
        model.warm(warm)
        return model

    def warm(self, warm: Prompt | None) -> None:
        """Evaluates the prompt for conversations that begin with it, and starts the engine. Blocks.

        Raises ConfigError when the prompt is not one that the model can take.
        """
        try:
            text = self._template.opening(warm.turns) if warm else b""
        except InvalidInput as error:
            raise ConfigError(f"the model cannot be warmed: {error}") from error
        if (tokens := self.engine.weights.count(text)) >= self.engine.context.length:
            raise ConfigError(
                f"the warm prompt has {tokens} tokens: the model's context has {self.engine.context.length}"
            )
        self.engine.start([text] if text else [])

    def attach(self, host: Host) -> None:
        self.engine.attach(host.lost.set)

    @asynccontextmanager
    async def generate(self, generation: Generation, grants: Grants) -> AsyncIterator[AsyncIterator[Event]]:
        messages, dropped = self._fitted(generation)
        asked = self._prompt(messages, generation)
        with self._places.hold(asked.whole, asked.answered) as slot:
            # One seed for a whole turn, however many grants it is made of.
            sampling = generation.sampling
            request = Request(
                slot=slot,
                text=self._template.text(asked.turns),
                opening=self._template.opening(asked.turns[:1]),
                sampling=sampling,
                seed=secrets.randbelow(SEEDS) if sampling.seed is None else sampling.seed,
                grammar=asked.grammar,
                max_tokens=generation.max_tokens,
            )
            turn = Turn(self.engine, request, generation, dropped)
            try:
                async with aclosing(turn.events(grants)) as events:
                    yield events
            finally:
                turn.stop()

    def counts(self) -> Mapping[str, int]:
        """The tokens that were evaluated, and chosen, since the engine began."""
        return {"evaluated": self.engine.evaluated, "generated": self.engine.generated}

    def close(self) -> None:
        self.engine.close()

    def _fitted(self, generation: Generation) -> tuple[Sequence[Message], int]:
        length = self.engine.context.length
        room = min(generation.max_tokens, length // ANSWER)

        def count(messages: Sequence[Message]) -> int:
            return self.engine.weights.count(self._template.text(self._prompt(messages, generation).turns))

        return fitted(generation.messages, length, room, count)

    def _prompt(self, messages: Sequence[Message], generation: Generation) -> Prompt:
        own = self._own
        return prompt(
            messages, generation.tools, generation.choice, own.tool_result_role, most_calls=own.parallel_calls
        )


def _warm_prompt(settings: LlamaCppSettings) -> Prompt | None:
    path = settings.warm_prompt_file
    if path is None:
        return None
    try:
        return _read_warm_prompt(path, settings.tool_result_role)
    except (OSError, ValueError, InvalidInput) as error:
        raise ConfigError(f"the warm prompt {path} cannot be used: {error}") from error


def _read_warm_prompt(path: Path, tool_result_role: str) -> Prompt:
    content = json.loads(path.read_text())
    parts = content if isinstance(content, dict) else {"messages": content}
    messages = read_messages(json.dumps(parts.get("messages", [])))
    tools = read_tools(json.dumps(parts.get("tools", [])))
    return prompt(messages, tools, Choice("auto"), tool_result_role, opening=True)
