"""vLLM's engine and its own chat layer, without a server between.

The chat layer is that of `vllm serve`: templates, reasoning and tool parsers are vLLM's, its answers are read as those
of a server are. This follows vLLM 0.32 and 0.33, whose `run-batch` puts the same parts together.
"""

import asyncio
import json
import shlex
from argparse import Namespace
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any, Self

from openai.types.chat import ChatCompletionChunk

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings

from ...grants import Grants
from ...settings import Settings
from .. import Event, Generation
from ..openai.failures import refusal, translated
from ..openai.reply import answered
from ..openai.request import request
from . import recipe
from .settings import VllmSettings

DATA, END = "data: ", "[DONE]"


class Vllm:
    """Leaving a turn aborts its request. Grants hold text back; the engine writes on, up to the turn's most tokens."""

    def __init__(self, engine: Any, args: Namespace) -> None:
        self.name = str(args.served_model_name[0] if args.served_model_name else args.model)
        self._engine = engine
        self._args = args
        self._chat: asyncio.Future[Any] | None = None
        self._on_lost: Callable[[], None] = lambda: None

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Raises ConfigError for flags that vLLM does not take, and when it cannot load the model."""
        own = read_settings(VllmSettings)
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ConfigError(f"the backend vllm needs vLLM: pip install 'antiphon-llm[vllm]' ({error})") from error
        args = _parsed(own, settings.slots)
        try:
            return cls(AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(args)), args)
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"vLLM cannot load {args.model}: {error}") from error

    def attach(self, host: Host) -> None:
        self._on_lost = host.lost.set
        # On the loop that it then runs on, and before the first turn would have to wait for it.
        self._chat = asyncio.ensure_future(_chat_layer(self._engine, self._args))

    @asynccontextmanager
    async def generate(self, generation: Generation, grants: Grants) -> AsyncIterator[AsyncIterator[Event]]:
        try:
            async with aclosing(answered(generation, grants, lambda: self._opened(generation))) as events:
                yield events
        finally:
            if self._engine.errored:
                self._on_lost()

    def close(self) -> None:
        self._engine.shutdown()

    @asynccontextmanager
    async def _opened(self, generation: Generation) -> AsyncIterator[AsyncIterator[Any]]:
        async with aclosing(await self._asked(generation)) as lines, aclosing(_chunks(lines)) as chunks:
            yield chunks

    async def _asked(self, generation: Generation) -> Any:
        """The answer's lines, as a server would send them. Raises what a refusal stands for."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.exceptions import VLLMClientError

        assert self._chat, "attached"
        chat = await asyncio.shield(self._chat)
        try:
            answer = await chat.create_chat_completion(ChatCompletionRequest(**request(generation, self.name)))
        except (ValueError, VLLMClientError) as error:
            raise refusal(400, str(error)) from error
        if refused := getattr(answer, "error", None):
            raise refusal(int(refused.code), str(refused.message))
        return answer


async def _chat_layer(engine: Any, args: Namespace) -> Any:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state

    state: Any = SimpleNamespace()
    await init_app_state(engine, state, args, await engine.get_supported_tasks())
    return state.openai_serving_chat


async def _chunks(lines: AsyncIterator[str]) -> AsyncGenerator[ChatCompletionChunk]:
    async for line in lines:
        text = line.removeprefix(DATA).strip()
        if text == END:
            return
        with translated():
            data = json.loads(text)
            chunk = ChatCompletionChunk.model_validate(data) if "error" not in data else None
        if chunk is None:
            raise refusal(int(data["error"].get("code") or 500), str(data["error"].get("message")))
        yield chunk


def _parsed(own: VllmSettings, slots: int) -> Namespace:
    """The flags in effect: ours, then those that were set. Raises ConfigError for one that there is not."""
    try:
        from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
    except ImportError:  # 0.32
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    if not (own.model or own.recipe):
        raise ConfigError("ANTIPHON_LLM_VLLM__MODEL and __RECIPE are both empty: one is needed")
    thinks = json.dumps({"enable_thinking": False})
    ours = ["--default-chat-template-kwargs", thinks, *(recipe.flags(own.recipe) if own.recipe else [])]
    ours += ["--model", own.model or recipe.model(own.recipe), "--max-num-seqs", str(slots)]
    try:
        parser = make_arg_parser(FlexibleArgumentParser(exit_on_error=False))
        args: Namespace = parser.parse_args([*ours, "--enable-prompt-tokens-details", *shlex.split(own.args)])
        validate_parsed_serve_args(args)
    except (SystemExit, Exception) as error:
        raise ConfigError(f"ANTIPHON_LLM_VLLM__ARGS {own.args!r} is not what vLLM takes: {error}") from error
    return args
