"""One utterance sent to `antiphon.asr.v1.AsrService/Transcribe`: what came back, and when.

Needs neither Pipecat nor NumPy, for instruments that run where they are not installed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import grpc

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon.common.v1 import audio_pb2
from antiphon_runtime.auth import Issuer
from antiphon_runtime.client import DialError, Replicas, Stream
from antiphon_runtime.tls import ClientTls

from ..errors import AsrError, NoAnswer, StreamLost, StreamRefused

SERVICE = "antiphon.asr.v1.AsrService"
RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2
PACKET_S = 0.020
PACKET_BYTES = round(RATE_HZ * PACKET_S) * BYTES_PER_SAMPLE
# An utterance that is not answered this long after its own length has passed is given up.
PATIENCE_S = 30.0

_COMMIT_ID = 1
_CLOSE_S = 2.0
_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


class Pace(StrEnum):
    """How audio is sent: as it is spoken, or as fast as flow control lets it through."""

    REAL = "real"
    FAST = "fast"


class Clock(Protocol):
    """What packets are sent by."""

    def now_s(self) -> float: ...

    async def until(self, at_s: float) -> None:
        """Returns at `at_s`, or at once when that has passed."""
        ...


class Monotonic:
    """time.monotonic and the event loop's sleep."""

    def now_s(self) -> float:
        return time.monotonic()

    async def until(self, at_s: float) -> None:
        await asyncio.sleep(at_s - time.monotonic())


MONOTONIC = Monotonic()


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What a stream is to be, as in `TranscribeConfig`: empty and 0 are the server's default."""

    language: str = ""
    model: str = ""
    context_ms: int = 0
    interim_results: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An utterance's final text, empty when no speech was found, and how long it took.

    All in ms. `final_ms` and `speech_end_ms` end when `finalized` arrives; they begin when the request for it and when
    the last packet of audio is handed to the stream. `queue_ms` and `compute_ms` are the server's own account.
    `late_ms` is the worst delay of a packet behind its time, 0 at pace FAST. `interims` counts the texts before.
    """

    text: str
    final_ms: float
    speech_end_ms: float
    queue_ms: float
    compute_ms: float
    late_ms: float
    interims: int


@dataclass(frozen=True, slots=True)
class _Sent:
    """When the last packet and the request for the text were handed to the stream, and the worst delay of a packet."""

    last_packet_s: float
    request_s: float
    late_s: float


@dataclass(frozen=True, slots=True)
class _Finalized:
    event: asr_pb2.Finalized
    at_s: float
    interims: int


@asynccontextmanager
async def connected(
    targets: Sequence[str], *, secret: bytes | None = None, tls: ClientTls | None = None
) -> AsyncIterator[Replicas]:
    """The service's replicas at `targets`, each "host:port". `secret` signs its tokens. Raises ConfigError."""
    issuer = Issuer(secret, SERVICE) if secret else None
    replicas = Replicas(
        targets, lambda channel: asr_pb2_grpc.AsrServiceStub(channel).Transcribe, issuer=issuer, tls=tls
    )
    try:
        yield replicas
    finally:
        await replicas.close()


async def effective(replicas: Replicas, config: StreamConfig) -> StreamConfig:
    """What the service makes of `config`, from a stream that is opened and closed again. Raises StreamRefused."""
    async with await opened(replicas, config) as stream:
        await _closed(stream)
        ready = stream.ready.config
        return StreamConfig(ready.language_code, ready.model, ready.context_ms, ready.interim_results)


async def transcribe(
    replicas: Replicas,
    pcm: bytes,
    config: StreamConfig,
    *,
    pace: Pace = Pace.REAL,
    patience_s: float = PATIENCE_S,
    clock: Clock = MONOTONIC,
) -> Answer:
    """Sends one utterance on a stream of its own and commits it at its last sample.

    `pcm` is mono s16le at 16 kHz, one sample or more. Raises StreamRefused, StreamLost, or NoAnswer once the
    utterance's own length and `patience_s` have passed.
    """
    async with await opened(replicas, config) as stream:
        try:
            async with asyncio.timeout(len(pcm) / (RATE_HZ * BYTES_PER_SAMPLE) + patience_s):
                async with asyncio.TaskGroup() as tasks:
                    reading = tasks.create_task(_read(stream, clock), name="read")
                    sent = await _send(stream, pcm, pace, clock)
        except TimeoutError:
            raise NoAnswer(f"{stream.address} gave no answer within {patience_s:g} s") from None
        await _closed(stream)
    answer = reading.result()
    if isinstance(answer, AsrError):
        raise answer
    if sent is None:
        raise StreamLost("OK", f"{stream.address} answered before it had all audio")
    return _answer(sent, answer)


async def opened(replicas: Replicas, config: StreamConfig) -> Stream:
    """A stream that is ready. The caller closes it. Raises StreamRefused."""
    audio = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ)
    first = asr_pb2.TranscribeConfig(
        audio=audio,
        model=config.model,
        language_code=config.language,
        interim_results=config.interim_results,
        context_ms=config.context_ms,
    )
    try:
        return await replicas.open(asr_pb2.TranscribeRequest(config=first))
    except DialError as error:
        raise StreamRefused(error.code.name, str(error)) from error
    except grpc.aio.AioRpcError as error:
        raise StreamRefused(error.code().name, error.details() or "no reason was given") from error


async def _send(stream: Stream, pcm: bytes, pace: Pace, clock: Clock) -> _Sent | None:
    """All packets, at pace REAL each when it is over, as a microphone does; then the request for the text.

    None when the stream ends meanwhile: who reads it learns why.
    """
    start_s = at_s = clock.now_s()
    late_s = 0.0
    with suppress(*_OVER):
        for at in range(0, len(pcm), PACKET_BYTES):
            packet = pcm[at : at + PACKET_BYTES]
            due_s = start_s + (at + len(packet)) / (RATE_HZ * BYTES_PER_SAMPLE)
            if pace is Pace.REAL:
                await clock.until(due_s)
            at_s = clock.now_s()
            late_s = max(late_s, at_s - due_s)
            await stream.write(asr_pb2.TranscribeRequest(audio=packet))
        request_s = clock.now_s()
        await stream.write(commit(_COMMIT_ID, len(pcm) // BYTES_PER_SAMPLE))
        return _Sent(at_s, request_s, late_s if pace is Pace.REAL else 0.0)
    return None


def commit(id: int, end_sample: int) -> asr_pb2.TranscribeRequest:
    """The request to end the utterance at `end_sample`."""
    mode = asr_pb2.FINALIZE_MODE_COMMIT
    return asr_pb2.TranscribeRequest(finalize=asr_pb2.Finalize(id=id, mode=mode, end_sample=end_sample))


async def _read(stream: Stream, clock: Clock) -> _Finalized | AsrError:
    """The answer to the commit, or why there is none."""
    interims = 0
    try:
        async for event in stream:
            match event.WhichOneof("event"):
                case "finalized":
                    return _Finalized(event.finalized, clock.now_s(), interims)
                case "transcript":
                    interims += 1
    except grpc.aio.AioRpcError as error:
        return StreamLost(error.code().name, f"{stream.address}: {error.details()}")
    return StreamLost("OK", f"{stream.address} ended the stream without an answer")


async def _closed(stream: Stream) -> None:
    """Half-closes the stream and waits for its end, so that its slot is free for the next one."""
    with suppress(*_OVER, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await stream.done_writing()
            async for _ in stream:
                pass


def _answer(sent: _Sent, answer: _Finalized) -> Answer:
    timings = answer.event.timings
    return Answer(
        text=answer.event.text,
        final_ms=(answer.at_s - sent.request_s) * 1000,
        speech_end_ms=(answer.at_s - sent.last_packet_s) * 1000,
        queue_ms=timings.queue_ms,
        compute_ms=timings.compute_ms,
        late_ms=sent.late_s * 1000,
        interims=answer.interims,
    )
