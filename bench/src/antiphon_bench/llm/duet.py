"""A model and a voice on one device: both as fast as they can, or by turns."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import grpc

from antiphon.common.v1 import audio_pb2
from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc
from antiphon_runtime.phases import Phases

from ..rpc import events
from ..tts.load import BYTES_PER_SAMPLE, MODES
from .talk import QUESTIONS, Message, system


@dataclass(frozen=True, slots=True)
class Sides:
    """Where the model and the voice are, how the voice is asked to speak, and the stretches of a reply in tokens."""

    llm: str
    tts: str
    mode: str
    first: int = 8
    later: int = 16
    most: int = 48


@dataclass(frozen=True, slots=True)
class Reply:
    """From the question to the first and the last audio."""

    first_ms: float
    last_ms: float
    audio_ms: float
    text: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class _Voice:
    """One reply's RPC to the voice, and when its audio came after the question."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.asked_s = 0.0
        self._listening: asyncio.Task[None] | None = None
        self.arrivals: list[tuple[float, int]] = []
        self.rate_hz = 1
        self._flushed = asyncio.Event()

    async def begin(self, mode: str) -> None:
        audio = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE)
        config = tts_pb2.SynthesizeConfig(audio=audio, mode=MODES.get(mode, tts_pb2.SYNTHESIS_MODE_UNSPECIFIED))
        await self._call.write(tts_pb2.SynthesizeRequest(config=config))
        self.rate_hz = (await self._call.read()).ready.config.audio.sample_rate_hz
        self._listening = asyncio.create_task(self._listen(), name="listen")

    def drop(self) -> None:
        if self._listening:
            self._listening.cancel()
        self._call.cancel()

    async def text(self, text: str) -> None:
        await self._call.write(tts_pb2.SynthesizeRequest(text=text))

    async def end(self) -> None:
        await self._call.done_writing()

    async def flush(self, mark: int) -> None:
        """Returns when all text until now has become audio."""
        self._flushed.clear()
        await self._call.write(tts_pb2.SynthesizeRequest(flush=tts_pb2.Flush(mark=mark)))
        await self._flushed.wait()

    async def heard(self, text: str) -> Reply:
        """What has been heard, once all has."""
        assert self._listening
        await self._listening
        since_ms = [(at_s - self.asked_s) * 1000 for at_s, _ in self.arrivals]
        audio_ms = sum(samples for _, samples in self.arrivals) / self.rate_hz * 1000
        return Reply(since_ms[0], since_ms[-1], audio_ms, text)

    async def _listen(self) -> None:
        async for event in events(self._call):
            match event.WhichOneof("event"):
                case "audio":
                    self.arrivals.append((time.monotonic(), len(event.audio.pcm) // BYTES_PER_SAMPLE))
                case "flushed":
                    self._flushed.set()


async def unscheduled(sides: Sides, messages: list[Message], tokens: int) -> Reply:
    """The voice gets the text as the model writes it, and each runs when it can."""
    async with _reply(sides, messages, tokens, grants=False) as (call, voice):
        text = ""
        async for event in events(call):
            if event.WhichOneof("event") == "text":
                text += event.text.text
                await voice.text(event.text.text)
        await voice.end()
        return await voice.heard(text)


async def by_turns(sides: Sides, messages: list[Message], tokens: int, device: Phases) -> Reply:
    """The model writes a stretch, the voice speaks it: never both, whoever else is there."""
    async with _reply(sides, messages, tokens, grants=True) as (call, voice):
        text, number, finished = "", 0, False
        while not finished:
            stretch = ""
            async with device.hold("llm"):
                await call.write(llm_pb2.GenerateRequest(grant=_grant(sides, number)))
                while (kind := (event := await call.read()).WhichOneof("event")) == "text":
                    stretch += event.text.text
            finished, number, text = kind == "finished", number + 1, text + stretch
            async with device.hold("tts"):
                await voice.text(stretch)
                await voice.flush(number)
        await voice.end()
        return await voice.heard(text)


def _grant(sides: Sides, number: int) -> llm_pb2.Grant:
    tokens, most = (sides.later, sides.most) if number else (sides.first, 0)
    return llm_pb2.Grant(segment_id=number, token_count=tokens, most_token_count=most, whole_clauses=True)


@asynccontextmanager
async def _reply(
    sides: Sides, messages: list[Message], tokens: int, *, grants: bool
) -> AsyncIterator[tuple[Any, _Voice]]:
    """A question that has just been asked, and the voice that will answer."""
    async with grpc.aio.insecure_channel(sides.llm) as llm, grpc.aio.insecure_channel(sides.tts) as tts:
        await asyncio.gather(llm.channel_ready(), tts.channel_ready())
        voice = _Voice(tts_pb2_grpc.TtsServiceStub(tts).Synthesize())
        await voice.begin(sides.mode)
        call: Any = llm_pb2_grpc.LlmServiceStub(llm).Generate()
        config = llm_pb2.GenerateConfig(
            messages_json=json.dumps(messages), max_token_count=tokens, temperature=0.0, await_grants=grants
        )
        try:
            voice.asked_s = time.monotonic()
            await call.write(llm_pb2.GenerateRequest(config=config))
            await call.read()
            if not grants:
                await call.done_writing()
            yield call, voice
        finally:
            call.cancel()
            voice.drop()


async def callers(sides: Sides, count: int, tokens: int, name: str, *, turns: bool) -> list[Reply]:
    """So many callers at once, each with the second question of a conversation whose first turn is warm."""
    device = Phases()
    history = [[system(f"{name}{number}")] for number in range(count)]
    for number, messages in enumerate(history):
        messages.append({"role": "user", "content": "Hello, can you help me?"})
        with suppress(grpc.aio.AioRpcError):
            await unscheduled(sides, messages, 1)
        messages.append({"role": "assistant", "content": "Of course."})
        messages.append({"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]})
    return await asyncio.gather(
        *(by_turns(sides, one, tokens, device) if turns else unscheduled(sides, one, tokens) for one in history)
    )
