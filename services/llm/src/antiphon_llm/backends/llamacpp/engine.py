"""xllamacpp's server object: what it is asked, what it answers, and how it is stopped."""

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon_runtime.errors import BackendFailed, ConfigError, InvalidInput

from .. import Sampling
from .prompt import Turn
from .settings import LlamaCppSettings

# llama.cpp takes 32 bits, of which the last value stands for "random".
SEEDS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: go on after `turns`, and after `said` of the answer, for at most `max_tokens`."""

    slot: int
    turns: tuple[Turn, ...]
    max_tokens: int
    sampling: Sampling
    grammar: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended. `shown_tokens` of the `output_tokens` are in the text; the rest are half a character.

    `began_s` and `ended_s` are on time.monotonic's clock; `first_token_s` is from `began_s`, by the engine.
    """

    finished: bool
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    shown_tokens: int
    began_s: float
    first_token_s: float
    ended_s: float


class Engine:
    """A loaded model. `ask` blocks, and may be called from as many threads as there are slots."""

    def __init__(self, path: Path, settings: LlamaCppSettings, slots: int) -> None:
        """Raises ConfigError when the model or the library cannot be loaded."""
        # libgomp reads this when it is loaded, with xllamacpp. Spinning threads starve the other processes of the
        # machine: with two busy ones beside it, not one prompt was finished in 24 s.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = slots
        params.n_ctx = settings.n_ctx * slots
        params.n_gpu_layers = settings.gpu_layers
        params.n_batch = params.n_ubatch = settings.n_batch
        params.cpuparams_batch.n_threads = settings.threads
        params.cpuparams.n_threads = settings.decode_threads
        params.use_jinja = True
        params.fit_params = False
        # Slots are chosen here (places.py), so nothing is gained by a second cache of up to 8 GB.
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
        params.endpoint_metrics = True
        params.verbosity = 0
        self._repeat_penalty = settings.repeat_penalty
        self._server = _started(xllamacpp, params)

    def ask(self, ask: Ask, stop: threading.Event, on_text: Callable[[str], None]) -> Answer:
        """Generates until the answer ends, `max_tokens` are reached, or `stop` is set.

        Raises InvalidInput when the engine refuses the request, such as for its length.
        """
        reply = _Reply(stop, on_text)
        self._server.handle_chat_completions(self._request(ask), reply.take)
        return reply.answer()

    def counts(self) -> Mapping[str, float]:
        """The engine's own counters, such as "tokens_predicted_total"."""
        lines = str(self._server.handle_metrics()).splitlines()
        pairs = (line.removeprefix("llamacpp:").split() for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def close(self) -> None:
        """Blocks until the engine's threads have ended. Nothing may be asked any more."""
        self._server = None

    def _request(self, ask: Ask) -> dict[str, Any]:
        messages = [{"role": turn.role, "content": turn.text} for turn in ask.turns]
        if ask.said:
            messages.append({"role": "assistant", "content": ask.said})
        request: dict[str, Any] = {
            "messages": messages,
            "id_slot": ask.slot,
            "cache_prompt": True,
            "max_tokens": ask.max_tokens,
            "temperature": ask.sampling.temperature,
            "top_p": ask.sampling.top_p,
            "repeat_penalty": self._repeat_penalty,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "return_progress": True,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        if ask.sampling.seed is not None:
            request["seed"] = ask.sampling.seed % SEEDS
        if ask.grammar:
            request["grammar"] = ask.grammar
        return request


def _started(xllamacpp: Any, params: Any) -> Any:
    """The server. It insists on listening for HTTP, so it gets a socket that nobody can reach, and a key."""
    with tempfile.TemporaryDirectory() as folder:
        params.hostnames = [str(Path(folder) / "unused.sock")]
        params.api_keys = [secrets.token_hex(16)]
        params.endpoint_slots = False
        params.ui = False
        try:
            return xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"llama.cpp cannot load {params.model.path}: {error}") from error


class _Reply:
    """Reads one request's chunks, on the thread that asked."""

    def __init__(self, stop: threading.Event, on_text: Callable[[str], None]) -> None:
        self._stop = stop
        self._on_text = on_text
        self._began_s: float | None = None
        self._finish = ""
        self._shown = 0
        self._last: Mapping[str, Any] = {}
        self._failure: Exception | None = None

    def take(self, chunk: Any) -> bool:
        """Takes a chunk; True tells the engine to stop. What is raised here would be lost in it, so it is kept."""
        try:
            self._read(chunk)
        except Exception as error:
            self._failure = error
        return self._failure is not None or self._stop.is_set()

    def _read(self, chunk: Mapping[str, Any]) -> None:
        if "error" in chunk:
            raise _refusal(chunk["error"])
        if self._began_s is None:
            self._began_s = time.monotonic()
        for choice in chunk.get("choices", ()):
            self._finish = choice.get("finish_reason") or self._finish
            if text := choice.get("delta", {}).get("content"):
                self._shown = chunk["timings"]["predicted_n"]
                self._on_text(text)
        if "usage" in chunk:
            self._last = chunk

    def answer(self) -> Answer:
        """Raises what went wrong; a stopped request has zeros for what the engine did not get to say."""
        if self._failure:
            raise self._failure
        if not self._last and not self._stop.is_set():
            raise BackendFailed("the engine ended a request without saying how")
        usage, timings = self._last.get("usage", {}), self._last.get("timings", {})
        now_s = time.monotonic()
        return Answer(
            finished=self._finish == "stop",
            prompt_tokens=usage.get("prompt_tokens", 0),
            cached_tokens=timings.get("cache_n", 0),
            output_tokens=usage.get("completion_tokens", 0),
            shown_tokens=self._shown,
            began_s=now_s if self._began_s is None else self._began_s,
            first_token_s=timings.get("prompt_ms", 0.0) / 1000,
            ended_s=now_s,
        )


def _refusal(error: Mapping[str, Any]) -> Exception:
    message = str(error.get("message", "unknown error"))
    if error.get("type") == "exceed_context_size_error":
        return InvalidInput(
            f"the conversation has {error.get('n_prompt_tokens')} tokens: the model's context has {error.get('n_ctx')}",
            reason="CONTEXT_OVERFLOW",
        )
    if error.get("code") == 400:
        return InvalidInput(f"the model cannot take this conversation: {message}", reason="REFUSED_BY_MODEL")
    return BackendFailed(message)
