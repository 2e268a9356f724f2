"""A model that needs no weights: the turn's number picks an answer from a script."""

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Self

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.errors import ConfigError, InvalidInput
from antiphon_runtime.latency import Latency, profile
from antiphon_runtime.server import Host
from antiphon_runtime.settings import ServerSettings, read_settings

from ..conversation import Call, Message
from ..grants import Allowance, Grants
from . import CallPart, Done, Event, Generation, Reason, Rested, Text, Usage

TOOL = re.compile(r"tool:(\S+)\s*(\{.*\})?\s*$", re.DOTALL)

# To the first segment, which is the first sentence or 24 tokens of it. min/p50/p90/max of the seed's session tables
# (upstream README of nemotron-january-2026) for the RTX 5090 and the DGX Spark, whose buffered service stops its TTFB
# there; for H100 the range to the first token that NVIDIA's voice-agent blueprint gives from 4 to 64 streams.
FIRST_SEGMENT = {
    "rtx5090": Latency(((0.0, 71.0), (0.5, 171.0), (0.9, 199.0), (1.0, 255.0))),
    "dgx-spark": Latency(((0.0, 343.0), (0.5, 750.0), (0.9, 915.0), (1.0, 1669.0))),
    "h100": Latency(((0.0, 61.0), (1.0, 156.0))),
}
# Between tokens of a 30B-A3B model: bytes read over memory bandwidth (a bound: 4-bit on the 5090, FP8 on the H100), and
# the 36 to 65 tokens a second that are published for the DGX Spark.
NEXT_TOKEN = {
    "rtx5090": Latency(((0.0, 1.13), (1.0, 1.13))),
    "dgx-spark": Latency(((0.0, 15.4), (1.0, 27.8))),
    "h100": Latency(((0.0, 1.07), (1.0, 1.07))),
}


SENTENCE_END = re.compile(r"[.!?]['\")\]]*\s*$")
SEGMENT_TOKENS = 24


class StubSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_LLM_STUB__", frozen=True)

    script: Annotated[str, Field(description='Answers separated by "|"; {last} is the last user message.')] = (
        "I heard: {last}"
    )
    profile: Annotated[str, Field(description="Latency of the answer: zero, rtx5090, dgx-spark, h100.")] = "zero"
    n_ctx: Annotated[int, Field(ge=1, description="The most words of a conversation.")] = 4096
    seed: Annotated[int, Field(description="Turns of one number draw the same latencies from it.")] = 0


class StubModel:
    name = "stub"

    def __init__(self, settings: StubSettings) -> None:
        self._answers = tuple(answer.strip() for answer in settings.script.split("|") if answer.strip())
        if not self._answers:
            raise ConfigError("ANTIPHON_LLM_STUB__SCRIPT has no answer")
        self._first_segment = profile(settings.profile, FIRST_SEGMENT)
        self._next_token = profile(settings.profile, NEXT_TOKEN)
        self._n_ctx = settings.n_ctx
        self._seed = settings.seed

    @classmethod
    def load(cls, settings: ServerSettings) -> Self:
        """Raises ConfigError when the script is empty or there is no such profile."""
        return cls(read_settings(StubSettings))

    def attach(self, host: Host) -> None:
        pass

    @asynccontextmanager
    async def generate(self, generation: Generation, grants: Grants) -> AsyncIterator[AsyncIterator[Event]]:
        async with aclosing(self._events(generation, grants)) as events:
            yield events

    def close(self) -> None:
        pass

    async def _events(self, generation: Generation, grants: Grants) -> AsyncGenerator[Event]:
        began_s = time.monotonic()
        prompt = self._prompt(generation.messages)
        turn = max(0, sum(message.role in ("user", "tool") for message in generation.messages) - 1)
        answer, call = self._answer(generation, turn)
        draw = random.Random(f"{self._seed} {turn}")
        words = re.findall(r"\S+\s*", answer)
        waits_s = self._waits(words, draw)
        reason, said = Reason.TOOL_CALLS if call else Reason.STOP, 0
        grant, allowance, may = None, Allowance(0), False
        for word in words:
            if said == generation.max_tokens:
                reason = Reason.LENGTH
                break
            if generation.await_grants and not may:
                if grant:
                    yield Rested(grant.segment_id, allowance.used)
                if (grant := await grants.next()) is None:
                    reason = Reason.GRANTS_USED
                    break
                allowance = Allowance(grant.tokens, grant.most)
            await asyncio.sleep(waits_s[said])
            said, may = said + 1, allowance.spend(word)
            if not call:
                yield Text(word)
        if call and reason is Reason.TOOL_CALLS:
            yield CallPart(0, call.call_id, call.name, call.arguments_json)
            yield call
        usage = Usage(prompt.prompt_tokens, prompt.cached_tokens, said)
        yield Done(reason, usage, began_s, time.monotonic(), waits_s[0])

    def _waits(self, words: list[str], draw: random.Random) -> list[float]:
        """Before each token, so that those of the first segment take what the profile says, if they can."""
        segment_s = self._first_segment.draw(draw)
        ends = (n for n, word in enumerate(words) if SENTENCE_END.search(word))
        last = min(next(ends, len(words) - 1), SEGMENT_TOKENS - 1)
        later_s = [self._next_token.draw(draw) for _ in words[1:]]
        return [max(0.0, segment_s - sum(later_s[:last])), *later_s]

    def _prompt(self, messages: tuple[Message, ...]) -> Usage:
        """Words count as tokens; those up to the last assistant message are cached."""
        counts = [len(message.text.split()) for message in messages]
        if sum(counts) > self._n_ctx:
            raise InvalidInput(
                f"the conversation has {sum(counts)} tokens: the model's context has {self._n_ctx}",
                reason="CONTEXT_OVERFLOW",
            )
        answered = max((n + 1 for n, message in enumerate(messages) if message.role == "assistant"), default=0)
        return Usage(sum(counts), sum(counts[:answered]), 0)

    def _answer(self, generation: Generation, turn: int) -> tuple[str, Call | None]:
        """What is said, and the call when the answer is one: then its words are what it costs."""
        users = [message.text for message in generation.messages if message.role == "user"]
        answer = self._answers[turn % len(self._answers)].replace("{last}", users[-1] if users else "")
        tools = generation.choice.allowed(generation.tools)
        match = TOOL.match(answer)
        if match and match[1] in {tool.name for tool in tools}:
            return answer, Call(f"call_{turn}", match[1], _object(match[2] or "{}"))
        if generation.choice.mode == "required":
            return f"tool:{tools[0].name}", Call(f"call_{turn}", tools[0].name, "{}")
        return answer, None


def _object(text: str) -> str:
    try:
        return json.dumps(json.loads(text))
    except ValueError as error:
        raise InvalidInput(f"the stub's script has a call whose arguments are not JSON: {text}") from error
