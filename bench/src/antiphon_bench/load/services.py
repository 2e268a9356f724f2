"""Callers straight at one of the four services, for what it bears by itself."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon.common.v1 import audio_pb2
from antiphon.llm.v1 import llm_pb2, llm_pb2_grpc
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc
from antiphon.turn.v1 import turn_pb2, turn_pb2_grpc
from antiphon_runtime.client import DialError, Replicas, Stream

from ..wav import CALL_RATE_HZ
from .caller import Lines
from .material import TICK_S, Question
from .plan import Plan
from .rows import Outcome, TurnRow

AUDIO = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=CALL_RATE_HZ)
# After the last speech a listener is given so much silence, in which it answers.
TAIL_TICKS = 15
METHODS: dict[str, Callable[[grpc.aio.Channel], Any]] = {
    "asr": lambda channel: asr_pb2_grpc.AsrServiceStub(channel).Transcribe,
    "tts": lambda channel: tts_pb2_grpc.TtsServiceStub(channel).Synthesize,
    "llm": lambda channel: llm_pb2_grpc.LlmServiceStub(channel).Generate,
    "turn": lambda channel: turn_pb2_grpc.TurnServiceStub(channel).Detect,
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """When the answer began, and what was heard, where the service tells."""

    at_s: float
    heard: str = ""


def service_of(url: str) -> str:
    """The service that is named by "asr://host:port" and the like, "" for an orchestrator's address."""
    scheme = urlsplit(url).scheme
    return scheme if scheme in METHODS else ""


@asynccontextmanager
async def replicas_of(url: str) -> AsyncIterator[Replicas]:
    """The service's replicas, several with commas."""
    replicas = Replicas(urlsplit(url).netloc.split(","), METHODS[service_of(url)])
    try:
        yield replicas
    finally:
        await replicas.close()


async def call_service(
    plan: Plan, number: int, lines: Lines, replicas: Replicas, on_row: Callable[[TurnRow], None], zero_s: float
) -> None:
    """One caller's turns, each on a stream of its own: a listener hears the question as it is spoken."""
    ask = {"asr": _asr, "tts": _tts, "llm": _llm, "turn": _turn}[service_of(plan.url)]
    for turn in range(1, plan.turns + 1):
        question = lines.plain[(turn - 1) % len(lines.plain)]
        outcome, error, late_ms = Outcome.ANSWERED, "", 0.0
        end_s, answer = time.monotonic(), None
        try:
            async with asyncio.timeout(plan.timeout_s + len(question.frames) * TICK_S):
                end_s, answer, late_ms = await ask(replicas, question)
        except TimeoutError:
            outcome = Outcome.UNANSWERED
        except DialError as refusal:
            outcome, error = Outcome.REFUSED, str(refusal)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as lost:
            outcome, error = Outcome.DROPPED, str(lost)
        if answer is None and outcome is Outcome.ANSWERED:
            outcome = Outcome.UNANSWERED
        if answer and (complaint := lines.judge.complaint(question, answer.heard, "") if answer.heard else ""):
            outcome, error = Outcome.WRONG, complaint
        v2v_ms = (answer.at_s - end_s) * 1000 if answer and outcome is Outcome.ANSWERED else None
        heard = answer.heard if answer else ""
        row = TurnRow(
            number, turn, question.name, outcome, end_s - zero_s, v2v_ms, None, heard, round(late_ms, 3), error
        )
        on_row(row)
        await asyncio.sleep(plan.manner.think_s)


async def _said(stream: Stream, question: Question, of: Callable[[bytes], Any]) -> tuple[float, float]:
    """Sends the question in real time, and gives when its last speech was over, and how late a frame was at worst."""
    start_s, late_s = time.monotonic(), 0.0
    silence = bytes(len(question.frames[0]))
    for tick, frame in enumerate((*question.frames, *[silence] * TAIL_TICKS), 1):
        due_s = start_s + tick * TICK_S
        await asyncio.sleep(due_s - time.monotonic())
        late_s = max(late_s, time.monotonic() - due_s)
        await stream.write(of(frame))
    return start_s + question.speech_end_s, late_s * 1000


async def _asr(replicas: Replicas, question: Question) -> tuple[float, _Answer | None, float]:
    """From the commit, which a caller's turn ends with, to the text."""
    config = asr_pb2.TranscribeConfig(audio=AUDIO)
    async with await replicas.open(asr_pb2.TranscribeRequest(config=config)) as stream:
        _, late_ms = await _said(stream, question, lambda pcm: asr_pb2.TranscribeRequest(audio=pcm))
        asked_s = time.monotonic()
        finalize = asr_pb2.Finalize(id=1, mode=asr_pb2.FINALIZE_MODE_COMMIT)
        await stream.write(asr_pb2.TranscribeRequest(finalize=finalize))
        async for event in stream:
            if event.WhichOneof("event") == "finalized":
                text = event.finalized.text
                return asked_s, (_Answer(time.monotonic(), text) if text else None), late_ms
    return asked_s, None, late_ms


async def _turn(replicas: Replicas, question: Question) -> tuple[float, _Answer | None, float]:
    """From the last speech to the first verdict on it, the silence that this needs included."""
    config = turn_pb2.DetectConfig(audio=AUDIO)
    async with await replicas.open(turn_pb2.DetectRequest(config=config)) as stream:
        verdict_s: list[float] = []

        async def hear() -> None:
            async for event in stream:
                match event.WhichOneof("event"):
                    case "verdict":
                        verdict_s.append(time.monotonic())
                    case "speech_started":
                        verdict_s.clear()

        hearing = asyncio.create_task(hear(), name="verdicts")
        try:
            end_s, late_ms = await _said(stream, question, lambda pcm: turn_pb2.DetectRequest(audio=pcm))
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        return end_s, (_Answer(verdict_s[0]) if verdict_s else None), late_ms


async def _llm(replicas: Replicas, question: Question) -> tuple[float, _Answer | None, float]:
    """From the request to the first words."""
    messages = [{"role": "user", "content": question.said or question.name}]
    config = llm_pb2.GenerateConfig(messages_json=json.dumps(messages), max_token_count=48)
    asked_s, first_s = time.monotonic(), None
    async with await replicas.open(llm_pb2.GenerateRequest(config=config)) as stream:
        async for event in stream:
            if event.WhichOneof("event") == "text" and first_s is None:
                first_s = time.monotonic()
    return asked_s, (_Answer(first_s) if first_s else None), 0.0


async def _tts(replicas: Replicas, question: Question) -> tuple[float, _Answer | None, float]:
    """From the text to the first audio."""
    config = tts_pb2.SynthesizeConfig(audio=audio_pb2.AudioFormat(encoding=AUDIO.encoding, sample_rate_hz=24_000))
    async with await replicas.open(tts_pb2.SynthesizeRequest(config=config)) as stream:
        asked_s, first_s = time.monotonic(), None
        await stream.write(tts_pb2.SynthesizeRequest(text=question.said or question.name))
        await stream.done_writing()
        async for event in stream:
            if event.WhichOneof("event") == "audio" and first_s is None:
                first_s = time.monotonic()
    return asked_s, (_Answer(first_s) if first_s else None), 0.0
