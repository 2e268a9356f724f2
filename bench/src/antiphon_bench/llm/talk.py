"""Conversations with `antiphon.llm.v1.LlmService/Generate`: what each turn took, token by token."""

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc

from ..machine import load_average
from ..rpc import events
from ..stats import summarise

Message = dict[str, Any]

# Of one length, so that a turn's time is not its question's.
QUESTIONS = (
    "Tell me a little about the rivers of Europe.",
    "Tell me a little about the history of bread.",
    "Tell me a little about the moons of Jupiter.",
    "Tell me a little about the work of a nurse.",
    "Tell me a little about the uses of copper.",
    "Tell me a little about the life of a whale.",
    "Tell me a little about the rules of chess.",
    "Tell me a little about the birds of Africa.",
    "Tell me a little about the making of glass.",
    "Tell me a little about the city of Lisbon.",
)
PERSONA = (
    "You are Ava, a friendly voice assistant of a small bookshop. You answer in short spoken sentences, without lists "
    "or symbols. When you do not know something you say so. You never give medical or legal advice. If a caller is "
    "upset you stay calm and kind, and you offer to ask a colleague to call back. This is call number"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer. `gaps_ms` are between its tokens; the first token's time runs from the request."""

    number: int
    text: str
    ttft_ms: float | None
    gaps_ms: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """So many conversations at once, and all their turns."""

    callers: int
    turns: tuple[Turn, ...]
    wall_s: float
    load: float | None = field(default_factory=load_average)

    def part(self, *, cold: bool) -> list[Turn]:
        """The first turns, whose system prompt nobody has evaluated, or the later ones."""
        return [turn for turn in self.turns if (turn.number == 0) == cold]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def system(call: str) -> Message:
    """A system prompt that no other call begins with."""
    return {"role": "system", "content": f"[{call}] {PERSONA} {call}."}


async def ask(stub: llm_pb2_grpc.LlmServiceStub, messages: Sequence[Message], tokens: int, number: int) -> Turn:
    config = llm_pb2.GenerateConfig(messages_json=json.dumps(messages), max_token_count=tokens, temperature=0.0)
    call: Any = stub.Generate(iter([llm_pb2.GenerateRequest(config=config)]))
    asked, times, text, usage, error = time.monotonic(), [], "", llm_pb2.Usage(), ""
    try:
        async for event in events(call):
            match event.WhichOneof("event"):
                case "text":
                    times.append(time.monotonic())
                    text += event.text.text
                case "finished":
                    usage = event.finished.usage
    except grpc.aio.AioRpcError as failed:
        error = f"{failed.code()}: {failed.details()}"
    gaps = tuple((late - early) * 1000 for early, late in itertools.pairwise(times))
    ttft_ms = (times[0] - asked) * 1000 if times else None
    counts = (usage.prompt_token_count, usage.cached_token_count, usage.output_token_count)
    return Turn(number, text, ttft_ms, gaps, *counts, error)


async def converse(target: str, call: str, turns: int, tokens: int) -> list[Turn]:
    """A conversation on a connection of its own."""
    async with grpc.aio.insecure_channel(target) as channel:
        await channel.channel_ready()
        stub = llm_pb2_grpc.LlmServiceStub(channel)
        messages, had = [system(call)], []
        for number in range(turns):
            messages.append({"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]})
            had.append(await ask(stub, messages, tokens, number))
            messages.append({"role": "assistant", "content": had[-1].text})
        return had


async def at_once(target: str, callers: int, turns: int, tokens: int, name: str = "") -> Level:
    began = time.monotonic()
    talks = await asyncio.gather(*(converse(target, f"{name}{callers}-{n}", turns, tokens) for n in range(callers)))
    return Level(callers, tuple(turn for talk in talks for turn in talk), time.monotonic() - began)


def row(level: Level) -> dict[str, Any]:
    """A level's figures: cold and warm times to the first token, and between tokens."""
    gaps = [gap for turn in level.turns for gap in turn.gaps_ms]
    prompt, cached = (
        sum(getattr(turn, name) for turn in level.part(cold=False)) for name in ("prompt_tokens", "cached_tokens")
    )
    parts: dict[str, Sequence[float | None]] = {
        "cold": [turn.ttft_ms for turn in level.part(cold=True)],
        "warm": [turn.ttft_ms for turn in level.part(cold=False)],
        "token": gaps,
    }
    found: dict[str, Any] = {"callers": level.callers}
    for name, values in parts.items():
        spread = summarise(values)
        found |= {f"{name}_p50": spread.p50_ms, f"{name}_p95": spread.p95_ms, f"{name}_p99": spread.p99_ms}
    tokens = sum(turn.output_tokens for turn in level.turns)
    return found | {"cached": cached / prompt if prompt else None, "tokens_per_s": tokens / level.wall_s}
