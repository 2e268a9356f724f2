"""The model's own chat template, which turns a conversation into the text that the model was trained on."""

import datetime
import json
from collections.abc import Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from antiphon_runtime.errors import ConfigError, InvalidInput

from .memory import common_length
from .prompt import Turn


class Template:
    """Renders as Hugging Face's transformers do (utils/chat_template_utils.py), whose templates these are."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        """Raises ConfigError when `source` is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ConfigError(f"the model's chat template cannot be read: {error}") from error
        self._constants = {"bos_token": bos, "eos_token": eos, "enable_thinking": False}

    def text(self, turns: Sequence[Turn]) -> bytes:
        """The prompt for an answer to `turns`. Raises InvalidInput when the template does not take them."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._constants).encode()
        except jinja2.TemplateError as error:
            raise InvalidInput(
                f"the model cannot take this conversation: {error}", reason="REFUSED_BY_MODEL"
            ) from error

    def opening(self, turns: Sequence[Turn]) -> bytes:
        """What every conversation that begins with `turns` begins with; of a user's turns the last one is left out."""
        if turns and turns[-1].role == "user":
            turns = turns[:-1]
        one, other = (self.text([*turns, Turn("user", word)]) for word in ("a", "b"))
        return one[: common_length(one, other)]


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)
