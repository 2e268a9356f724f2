"""A real server for each backend: the stub with a script, and llama.cpp with SmolLM2 where its weights are."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import grpc
import pytest
import pytest_asyncio

from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc
from antiphon_llm.backends.llamacpp import LlamaCpp
from antiphon_llm.backends.openai import OpenAI
from antiphon_llm.backends.stub import StubModel, StubSettings
from antiphon_llm.backends.vllm import Vllm
from antiphon_llm.service import SERVICE, build
from antiphon_llm.settings import Settings
from antiphon_llm.weights import SMOLLM2, SMOLLM2_FILE
from antiphon_runtime.testing import Served, collect, serving
from antiphon_runtime.weights import DEFAULT_DIR, require

SLOTS = 2
SCRIPT = 'One two three four five six.|You said {last}|tool:look_up {"query": "whales"}|They are large.'


@dataclass(frozen=True)
class Turn:
    """A finished stream, as its caller saw it."""

    events: Sequence[llm_pb2.GenerateResponse]
    error: grpc.aio.AioRpcError | None

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("event")) for event in self.events]

    @property
    def text(self) -> str:
        return "".join(event.text.text for event in self.events)

    @property
    def calls(self) -> list[llm_pb2.ToolCall]:
        return [event.tool_call for event in self.events if event.WhichOneof("event") == "tool_call"]

    @property
    def finished(self) -> llm_pb2.Finished:
        assert self.error is None, self.error
        assert self.kinds[-1] == "finished"
        return self.events[-1].finished


@dataclass(frozen=True)
class Llm:
    """A running service and what its tests need of it."""

    served: Served
    stub: llm_pb2_grpc.LlmServiceStub
    model: Any

    async def turn(self, messages: Any, *grants: tuple[int, ...], **config: Any) -> Turn:
        """One turn, half-closed after its grants (segment id, tokens, most tokens, whole clauses)."""
        requests = [self.config(messages, await_grants=bool(grants), **config), *map(self.grant, grants)]
        return Turn(*await collect(self.stub.Generate(iter(requests))))

    async def send(self, *requests: llm_pb2.GenerateRequest) -> Turn:
        return Turn(*await collect(self.stub.Generate(iter(requests))))

    def config(self, messages: Any, **config: Any) -> llm_pb2.GenerateRequest:
        text = messages if isinstance(messages, str) else json.dumps(messages)
        return llm_pb2.GenerateRequest(config=llm_pb2.GenerateConfig(messages_json=text, **config))

    def grant(self, grant: tuple[int, ...]) -> llm_pb2.GenerateRequest:
        names = ("segment_id", "token_count", "most_token_count", "whole_clauses")
        return llm_pb2.GenerateRequest(grant=llm_pb2.Grant(**dict(zip(names, grant, strict=False))))

    async def resting(self, messages: Any) -> Any:
        """A call that holds a slot: it is ready, and waits for a grant."""
        call = self.stub.Generate()
        await call.write(self.config(messages, await_grants=True))
        ready = await call.read()
        assert ready.WhichOneof("event") == "ready"
        return call

    async def idle(self) -> None:
        """Returns once no slot is held."""
        await self.until(lambda: not self.served.sample("antiphon_llm_slots_used"))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns once `holds` does, which must be within ten seconds."""
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0)


async def _serve(model: Any) -> AsyncIterator[Llm]:
    settings = Settings(bind="127.0.0.1:0", grace_s=0.0, slots=SLOTS, max_tokens=64)
    async with serving(SERVICE, build(settings, load=lambda _: model), settings) as served:
        yield Llm(served, llm_pb2_grpc.LlmServiceStub(served.channel), model)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stub_llm() -> AsyncIterator[Llm]:
    async for llm in _serve(StubModel(StubSettings(script=SCRIPT, n_ctx=100))):
        yield llm


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def real_llm() -> AsyncIterator[Llm]:
    pytest.importorskip("xllamacpp")
    async for llm in _serve(await asyncio.to_thread(LlamaCpp.load, Settings(slots=SLOTS))):
        yield llm


@pytest.fixture(scope="session")
def llama_server() -> Iterator[Any]:
    """A real OpenAI-compatible server: llama.cpp's own, with SmolLM2, on a free port."""
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(require(DEFAULT_DIR, SMOLLM2) / SMOLLM2_FILE)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx = SLOTS, 2048 * SLOTS
    params.use_jinja, params.ui, params.endpoint_metrics, params.verbosity = True, False, True, 0
    params.n_batch = params.n_ubatch = 64
    yield xllamacpp.Server(params)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def openai_llm(llama_server: Any) -> AsyncIterator[Llm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_LLM_OPENAI__BASE_URL", f"{llama_server.listening_address}/v1")
        model = await asyncio.to_thread(OpenAI.load, Settings(slots=SLOTS))
    async for llm in _serve(model):
        yield llm


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm_llm() -> AsyncIterator[Llm]:
    """The folder of a model is in ANTIPHON_LLM_VLLM__MODEL: see CONTRIBUTING.md."""
    pytest.importorskip("vllm")
    model = await asyncio.to_thread(Vllm.load, Settings(slots=SLOTS))
    async for llm in _serve(model):
        yield llm


BACKENDS = ("stub_llm", "real_llm", "openai_llm", "vllm_llm")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "llm" in metafunc.fixturenames:
        # Without vLLM its tests are not even skipped: it is for a lane of its own.
        there = [name for name in BACKENDS if name != "vllm_llm" or find_spec("vllm")]
        params = [pytest.param(name, marks=() if name == "stub_llm" else pytest.mark.real) for name in there]
        metafunc.parametrize("llm", params, indirect=True)


@pytest.fixture
def llm(request: pytest.FixtureRequest) -> Llm:
    return request.getfixturevalue(request.param)
