"""The loaded model: turns on the engine's slots, each at most one thread's work."""

import json
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Self

from antiphon_runtime.errors import ConfigError, InvalidInput
from antiphon_runtime.settings import read_settings
from antiphon_runtime.weights import require

from ...conversation import Choice, read_messages, read_tools
from ...grants import Grants
from ...settings import Settings
from ...weights import SMOLLM2, SMOLLM2_FILE
from .. import Event, Generation, Sampling
from .engine import Ask, Engine
from .places import Places
from .prompt import Prompt, prompt
from .prompt import Turn as Said
from .settings import LlamaCppSettings
from .turn import Turn

GREEDY = Sampling(temperature=0.0, top_p=1.0)


class LlamaCpp:
    def __init__(self, engine: Engine, slots: int, name: str, tool_result_role: str = "system") -> None:
        self.name = name
        self._engine = engine
        self._places = Places(slots)
        self._tool_result_role = tool_result_role
        self._slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="llamacpp")

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Raises ConfigError when the weights, the warm prompt or the library are not as they must be."""
        own = read_settings(LlamaCppSettings)
        path = own.model_path or require(own.models_dir, SMOLLM2) / SMOLLM2_FILE
        if not path.is_file():
            raise ConfigError(f"there is no model at {path}")
        warm = _warm_prompt(own)
        model = cls(Engine(path, own, settings.slots), settings.slots, path.stem, own.tool_result_role)
        model.warm(warm)
        return model

    def warm(self, warm: Prompt | None) -> None:
        """Evaluates the prompt in every slot; without one, runs the model once in each. Blocks.

        Raises ConfigError when the prompt is not one that the model can take.
        """
        turns = warm.turns if warm else ()
        if not turns or turns[-1].role == "assistant":  # so that the template's start of a user's turn is warm as well
            turns = (*turns, Said("user", ""))
        try:
            for slot in range(self._slots):
                self._engine.ask(Ask(slot, turns, 2, GREEDY), threading.Event(), lambda text: None)
        except InvalidInput as error:
            raise ConfigError(f"the model cannot be warmed: {error}") from error
        if warm:
            self._places.warmed(warm.whole)

    @asynccontextmanager
    async def generate(self, generation: Generation, grants: Grants) -> AsyncIterator[AsyncIterator[Event]]:
        asked = prompt(generation.messages, generation.tools, generation.choice, self._tool_result_role)
        with self._places.hold(asked.whole, asked.answered) as slot:
            turn = Turn(self._engine, self._threads, slot, asked, generation)
            try:
                async with aclosing(turn.events(grants)) as events:
                    yield events
            finally:
                await turn.stop()

    def counts(self) -> Mapping[str, float]:
        """The engine's own counters, such as "tokens_predicted_total"."""
        return self._engine.counts()

    def close(self) -> None:
        self._threads.shutdown()
        self._engine.close()


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
