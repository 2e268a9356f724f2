"""The server as a model: one pooled client, one request a turn."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

import openai

from antiphon_runtime.errors import ConfigError, Unavailable
from antiphon_runtime.server import Host
from antiphon_runtime.settings import read_settings

from ...grants import Grants
from ...settings import Settings
from .. import Event, Generation
from .failures import translated
from .reply import answered
from .request import request
from .settings import OpenAISettings

RETRY_S = 0.5


class OpenAI:
    """Leaving a turn closes its connection, at which vLLM and llama.cpp stop."""

    def __init__(self, own: OpenAISettings, name: str) -> None:
        self.name = name
        self._own = own
        self._client = openai.AsyncOpenAI(
            base_url=str(own.base_url),
            api_key=own.api_key.get_secret_value(),
            max_retries=0,
            timeout=openai.Timeout(None, connect=own.connect_timeout_s),
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Waits for the server. Raises ConfigError when it does not come up in time, or has no such model."""
        own = read_settings(OpenAISettings)
        names = _models(own)
        name = own.model or next(iter(names), "")
        if name not in names:
            raise ConfigError(f"{own.base_url} has no model {name!r}: it has {', '.join(names) or 'none'}")
        return cls(own, name)

    def attach(self, host: Host) -> None:
        pass

    @asynccontextmanager
    async def generate(self, generation: Generation, grants: Grants) -> AsyncIterator[AsyncIterator[Event]]:
        self._loop = asyncio.get_running_loop()
        async with aclosing(answered(generation, grants, lambda: self._opened(generation))) as events:
            yield events

    def close(self) -> None:
        if self._loop and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()

    @asynccontextmanager
    async def _opened(self, generation: Generation) -> AsyncIterator[AsyncIterator[Any]]:
        began_s, own = time.monotonic(), self._own
        asked = request(generation, self.name, own.max_tokens_field)
        with translated():
            async with _limited(own.first_token_timeout_s, "did not begin an answer"):
                stream = await self._client.chat.completions.create(**asked, extra_body=own.extra)
        async with stream, aclosing(self._chunks(stream, began_s)) as chunks:
            yield chunks

    async def _chunks(self, stream: Any, began_s: float) -> AsyncGenerator[Any]:
        own = self._own
        what, limit_s = "did not begin an answer", own.first_token_timeout_s - (time.monotonic() - began_s)
        while True:
            with translated():
                async with _limited(limit_s, what):
                    chunk = await anext(stream, None)
            if chunk is None:
                return
            yield chunk
            what, limit_s = "stalled in the middle of an answer", own.stall_timeout_s


@asynccontextmanager
async def _limited(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unavailable(f"the model's server {what} within {seconds:.1f} s", reason="ENDPOINT_STALLED") from None


def _models(own: OpenAISettings) -> list[str]:
    """The names of the server's models, once it is there."""
    client = openai.OpenAI(
        base_url=str(own.base_url),
        api_key=own.api_key.get_secret_value(),
        max_retries=0,
        timeout=openai.Timeout(own.first_token_timeout_s, connect=own.connect_timeout_s),
    )
    deadline = time.monotonic() + own.wait_s
    with client:
        while True:
            try:
                return [model.id for model in client.models.list().data]
            except openai.OpenAIError as error:
                busy = isinstance(error, openai.APIConnectionError | openai.InternalServerError)
                if not busy or time.monotonic() >= deadline:
                    raise ConfigError(f"{own.base_url} does not list its models: {error}") from error
            time.sleep(RETRY_S)
