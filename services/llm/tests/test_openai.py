"""The backend `openai` against servers that behave as servers do: well, badly, and not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from antiphon_llm.backends import Done, Event, Generation, Reason, Rested, Sampling, Text
from antiphon_llm.backends.openai import OpenAI
from antiphon_llm.backends.openai.reasoning import Spoken
from antiphon_llm.conversation import Call, Choice, Sent, read_choice, read_messages, read_sent, read_tools
from antiphon_llm.grants import Grant, Grants
from antiphon_llm.settings import Settings
from antiphon_runtime.errors import BackendFailed, ConfigError, InvalidInput, NoCapacity, ServiceError, Unavailable

MESSAGES = [{"role": "user", "content": "Hi.", "name": "Bob"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}, "strict": True}}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 8}}

Behaviour = Callable[["Endpoint", web.StreamResponse], Awaitable[None]]


@dataclass
class Endpoint:
    """A server: what it was asked, and whether its caller hung up."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""


def chunk(finish: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    choices = [] if usage and not delta else [{"index": 0, "delta": delta, "finish_reason": finish}]
    data = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    }
    return f"data: {json.dumps(data)}\n\n".encode()


def saying(*pieces: bytes) -> Behaviour:
    async def behave(_: Endpoint, response: web.StreamResponse) -> None:
        for piece in pieces:
            await response.write(piece)

    return behave


@asynccontextmanager
async def endpoint(
    behave: Behaviour | None = None, *, status: int = 200, body: str = "", kind: str = "text/event-stream"
) -> AsyncIterator[Endpoint]:
    here = Endpoint()

    async def models(_: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": ""}]}
        )

    async def complete(request: web.Request) -> web.StreamResponse:
        here.asked.append(await request.json())
        if status != 200 or body:
            return web.Response(status=status, text=body, content_type=kind)
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        try:
            if behave:
                await behave(here, response)
            await response.write(b"data: [DONE]\n\n")
        except ConnectionResetError:
            here.left.set()
        return response

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", complete)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield here
    finally:
        await runner.cleanup()


async def model(url: str, **own: Any) -> OpenAI:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "base_url": url,
            "wait_s": 0,
            "stall_timeout_s": 60,
            "first_token_timeout_s": 60,
            **own,
        }.items():
            patch.setenv(f"ANTIPHON_LLM_OPENAI__{name.upper()}", str(value))
        return await asyncio.to_thread(OpenAI.load, Settings())


def generation(choice: str = '"auto"', *, grants: bool = False, **other: Any) -> Generation:
    messages, tools = json.dumps(other.get("messages", MESSAGES)), json.dumps(TOOLS)
    return Generation(
        read_messages(messages),
        read_tools(tools),
        read_choice(choice, read_tools(tools)),
        Sampling(0.5, 0.9, 7),
        20,
        grants,
        (messages, tools, choice),
    )


async def events(url: str, asked: Generation | None = None, grants: Sequence[Grant] = (), **own: Any) -> list[Event]:
    given = Grants()
    for grant in grants:
        await given.add(grant)
    await given.end()
    loaded = await model(url, **own)
    async with loaded.generate(asked or generation(grants=bool(grants)), given) as heard:
        return [event async for event in heard]


async def test_messages_and_tools_are_passed_on_as_they_were_sent_with_reasoning_off() -> None:
    async with endpoint(saying(chunk(content="Hi"), chunk("stop"), chunk(usage=USAGE))) as here:
        heard = await events(here.url)
    (asked,) = here.asked
    assert (asked["messages"], asked["tools"], asked["tool_choice"]) == (MESSAGES, TOOLS, "auto")
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert (asked["model"], asked["max_tokens"], asked["temperature"], asked["seed"]) == ("m", 20, 0.5, 7)
    assert heard[0] == Text("Hi")
    assert isinstance(done := heard[-1], Done)
    assert (done.reason, done.usage.prompt_tokens, done.usage.cached_tokens) == (Reason.STOP, 9, 8)


async def test_thoughts_are_not_said() -> None:
    pieces = [
        chunk(reasoning_content="Hm."),
        chunk(content="<th"),
        chunk(content="ink>No. </think>"),
        chunk(content=" Yes."),
    ]
    async with endpoint(saying(*pieces, chunk("stop"))) as here:
        heard = await events(here.url)
    assert "".join(event.text for event in heard if isinstance(event, Text)) == "Yes."


@pytest.mark.parametrize("text", ["<b>Hi", "<think", " <", "Hi <think>", ""])
def test_what_only_begins_like_a_thought_is_said(text: str) -> None:
    spoken = Spoken()
    assert "".join([*map(spoken.heard, text), spoken.rest()]) == text


async def test_parallel_calls_are_put_together_from_their_parts() -> None:
    def part(index: int, **other: Any) -> bytes:
        function = {name: other[name] for name in ("name", "arguments") if name in other}
        return chunk(tool_calls=[{"index": index, "id": other.get("id"), "function": function}])

    pieces = [part(0, id="a", name="f", arguments='{"x"'), part(1, id="b", name="f"), part(0, arguments=": 1}")]
    async with endpoint(saying(*pieces, chunk("tool_calls"))) as here:
        heard = await events(here.url)
    assert [(part.index, part.arguments_json) for part in heard[:3]] == [(0, '{"x"'), (1, ""), (0, ": 1}")]
    assert heard[3:5] == [Call("a", "f", '{"x": 1}'), Call("b", "f", "{}")]
    assert isinstance(heard[5], Done)
    assert heard[5].reason is Reason.TOOL_CALLS


async def test_a_call_that_must_be_made_and_is_not_is_an_error_and_nothing_is_said() -> None:
    async with endpoint(saying(chunk(content="No."), chunk("stop"))) as here:
        with pytest.raises(InvalidInput, match="must call a tool"):
            await events(here.url, generation('"required"'))


async def test_only_what_is_granted_is_read() -> None:
    read = 0

    async def count(_: Endpoint, response: web.StreamResponse) -> None:
        nonlocal read
        for read in range(5):
            await response.write(chunk(content=f"{read} "))
        await response.write(chunk("stop"))

    async with endpoint(count) as here:
        heard = await events(here.url, grants=[Grant(1, 2), Grant(2, 1)])
    assert [event for event in heard if isinstance(event, Rested)] == [Rested(1, 2), Rested(2, 1)]
    assert "".join(event.text for event in heard if isinstance(event, Text)) == "0 1 2 "
    assert isinstance(heard[-1], Done)
    assert heard[-1].reason is Reason.GRANTS_USED


async def test_leaving_a_turn_hangs_up() -> None:
    async def forever(_: Endpoint, response: web.StreamResponse) -> None:
        while True:
            await response.write(chunk(content="and "))
            await asyncio.sleep(0.005)

    async with endpoint(forever) as here:
        loaded = await model(here.url)
        async with loaded.generate(generation(), Grants()) as heard:
            assert await anext(heard) == Text("and ")
        async with asyncio.timeout(60):
            await here.left.wait()


@pytest.mark.real
async def test_leaving_a_turn_stops_a_real_server(llama_server: Any) -> None:
    def predicted() -> float:
        lines = str(llama_server.handle_metrics()).splitlines()
        return float(next(line for line in lines if line.startswith("llamacpp:tokens_predicted_total")).split()[1])

    loaded, before = (
        await model(f"{llama_server.listening_address}/v1", stall_timeout_s=20, first_token_timeout_s=20),
        predicted(),
    )
    long = [{"role": "user", "content": "Tell me a long story about a king."}]
    for asked in (replace(generation(messages=long), max_tokens=200, sampling=Sampling(0.0, 1.0)),) * 2:
        async with loaded.generate(asked, Grants()) as heard:
            await anext(heard)
    async with loaded.generate(replace(asked, max_tokens=1), Grants()) as heard:
        assert [event async for event in heard]
    assert predicted() - before < 40


@pytest.mark.parametrize(
    ("status", "body", "error", "reason"),
    [
        (429, '{"error": {"message": "slow down"}}', NoCapacity, "ENDPOINT_BUSY"),
        (503, "", NoCapacity, "ENDPOINT_BUSY"),
        (500, "<html>oops", Unavailable, "ENDPOINT_FAILED"),
        (401, '{"error": {"message": "who?"}}', BackendFailed, "ENDPOINT_REFUSES"),
        (404, "", BackendFailed, "ENDPOINT_REFUSES"),
        (400, '{"error": {"message": "maximum context length is 5"}}', InvalidInput, "CONTEXT_OVERFLOW"),
        (422, '{"error": {"message": "bad role"}}', InvalidInput, "REFUSED_BY_MODEL"),
        (200, "<html>welcome</html>", BackendFailed, "ENDPOINT_GARBAGE"),
        (200, "data: {]\n\n", BackendFailed, "ENDPOINT_GARBAGE"),
        (200, "data: 17\n\n", BackendFailed, "ENDPOINT_GARBAGE"),
        (200, 'data: {"choices": 5}\n\n', BackendFailed, "ENDPOINT_GARBAGE"),
        (200, 'data: {"error": {"message": "out of memory"}}\n\n', BackendFailed, "ENDPOINT_GARBAGE"),
    ],
)
async def test_what_a_server_refuses_or_garbles_is_a_typed_error(
    status: int, body: str, error: type[ServiceError], reason: str
) -> None:
    async with endpoint(status=status, body=body or " ") as here:
        with pytest.raises(error) as raised:
            await events(here.url)
    assert raised.value.reason == reason


async def test_a_server_that_stalls_or_breaks_off_is_noticed() -> None:
    async def stall(_: Endpoint, response: web.StreamResponse) -> None:
        await response.write(chunk(content="One"))
        await asyncio.sleep(600)

    async def wait(_: Endpoint, __: web.StreamResponse) -> None:
        await asyncio.sleep(600)

    for behave, limit, message in (
        (stall, "stall_timeout_s", "stalled in the middle"),
        (wait, "first_token_timeout_s", "did not begin"),
    ):
        async with endpoint(behave) as here, asyncio.timeout(60):
            with pytest.raises(Unavailable, match=message):
                await events(here.url, **{limit: 0.3})
    async with endpoint(saying(chunk(content="One"))) as here:
        with pytest.raises(BackendFailed, match="without a reason"):
            await events(here.url)


async def test_a_server_that_dies_is_unreachable_and_the_next_turn_says_so_too() -> None:
    async with endpoint() as here:
        loaded = await model(here.url)
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot be reached"):
            async with loaded.generate(generation(), Grants()) as heard:
                await anext(heard)
    with pytest.raises(ConfigError, match="does not list its models"):
        await model(here.url)


async def test_a_model_that_the_server_has_not_is_named_with_those_it_has() -> None:
    async with endpoint() as here:
        with pytest.raises(ConfigError, match="has no model 'gpt-9': it has m"):
            await model(here.url, model="gpt-9")


def test_what_is_sent_is_kept_but_for_what_cannot_be_carried() -> None:
    sent = read_sent('[{"role": "user", "content": [{"type": "text", "text": "a\\ud800\\u0000"}], "x": 1}]', "", "")
    assert sent == Sent([{"role": "user", "content": [{"type": "text", "text": "a?"}], "x": 1}], [], "auto")
    assert Choice("auto").allowed(()) == ()
