"""What the turn service and the recognizer say of an utterance, as a call would hear it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import grpc

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon.turn.v1 import turn_pb2, turn_pb2_grpc

from ..rpc import events
from ..wav import CALL_RATE_HZ
from .utterances import AUDIO, Utterance

PACKET_BYTES = CALL_RATE_HZ // 50 * 2
MS = CALL_RATE_HZ // 1000
# Of utterances heard at once: the judge of two cores keeps up with so many.
AT_ONCE = 6

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Asked after `silence_ms` of a pause, known `took_ms` later."""

    silence_ms: float
    took_ms: float
    probability: float


@dataclass(slots=True)
class Silence:
    """A pause as it was heard: it began at `sample`, and was noticed `noticed_ms` later.

    Speech went on at `resumed`, None when it did not. `text` is what the turn's words were by then, known `text_ms`
    after the pause began.
    """

    sample: int
    noticed_ms: float
    resumed: int | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    text: str | None = None
    text_ms: float = 0.0

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Silence":
        return cls(**{**found, "verdicts": [Verdict(**verdict) for verdict in found["verdicts"]]})


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance's pauses, in their order; the caller finished at sample `end`."""

    name: str
    part: str
    text: str
    end: int
    silences: tuple[Silence, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Heard":
        return cls(**{**found, "silences": tuple(Silence.from_json(silence) for silence in found["silences"])})


async def heard(turn: str, asr: str, utterances: Sequence[Utterance]) -> list[Heard]:
    """Each utterance on streams of its own, its audio in real time, a few at once."""
    return await each(turn, asr, utterances, _heard)


async def _heard(judge: Any, recognizer: Any, utterance: Utterance) -> Heard:
    silences = await _pauses(judge, utterance)
    await texts(recognizer, utterance, silences)
    return Heard(utterance.name, utterance.part, utterance.text, utterance.end, tuple(silences))


async def each(
    turn: str, asr: str, utterances: Sequence[Utterance], hear: Callable[[Any, Any, Utterance], Awaitable[T]]
) -> list[T]:
    """What `hear` makes of each, from the stubs of the turn service and the recognizer; a few at once."""
    places = asyncio.Semaphore(AT_ONCE)
    async with grpc.aio.insecure_channel(turn) as to_turn, grpc.aio.insecure_channel(asr) as to_asr:
        judge: Any = turn_pb2_grpc.TurnServiceStub(to_turn)
        recognizer: Any = asr_pb2_grpc.AsrServiceStub(to_asr)

        async def one(utterance: Utterance) -> T:
            async with places:
                return await hear(judge, recognizer, utterance)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(utterance)) for utterance in utterances]
    return [task.result() for task in running]


async def judged(judge: Any, pcm: bytes) -> AsyncGenerator[turn_pb2.DetectResponse]:
    """What the turn service says of 16-bit audio that it hears in real time.

    A verdict that comes after speech has gone on is not given.
    """
    call = judge.Detect()
    await call.write(turn_pb2.DetectRequest(config=turn_pb2.DetectConfig(audio=AUDIO)))
    sending = asyncio.create_task(_speak(call, pcm), name="speak")
    try:
        async for event in events(call):
            yield event
        await sending
    finally:
        sending.cancel()


async def _speak(call: Any, pcm: bytes) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for at in range(0, len(pcm), PACKET_BYTES):
        await asyncio.sleep(began_s + at / 2 / CALL_RATE_HZ - loop.time())
        await call.write(turn_pb2.DetectRequest(audio=pcm[at : at + PACKET_BYTES]))
    await call.done_writing()


async def _pauses(judge: Any, utterance: Utterance) -> list[Silence]:
    silences: list[Silence] = []
    async with aclosing(judged(judge, utterance.pcm.tobytes())) as said:
        async for event in said:
            match event.WhichOneof("event"):
                case "speech_paused":
                    silences.append(Silence(event.speech_paused.sample, event.speech_paused.silence_ms))
                case "speech_started" if silences:
                    silences[-1].resumed = event.speech_started.sample
                case "verdict":
                    silences[-1].verdicts.append(_verdict(event.verdict))
    return silences


def _verdict(verdict: turn_pb2.Verdict) -> Verdict:
    return Verdict(verdict.silence_ms, verdict.timings.compute_ms, verdict.probability)


async def texts(recognizer: Any, utterance: Utterance, silences: Sequence[Silence]) -> None:
    """Asks at each pause when it was noticed, as the orchestrator does; `text_ms` has no waiting for other callers."""
    call = recognizer.Transcribe()
    await call.write(asr_pb2.TranscribeRequest(config=asr_pb2.TranscribeConfig(audio=AUDIO)))
    pcm, sent = utterance.pcm.tobytes(), 0
    for number, silence in enumerate(silences, 1):
        due = min(len(pcm), (silence.sample + round(silence.noticed_ms * MS)) * 2)
        for at in range(sent, due, PACKET_BYTES):
            await call.write(asr_pb2.TranscribeRequest(audio=pcm[at : min(due, at + PACKET_BYTES)]))
        sent = max(sent, due)
        finalize = asr_pb2.Finalize(id=number, mode=asr_pb2.FINALIZE_MODE_SPECULATE, end_sample=silence.sample)
        await call.write(asr_pb2.TranscribeRequest(finalize=finalize))
        while (event := await call.read()) is not grpc.aio.EOF:
            if event.WhichOneof("event") == "finalized":
                silence.text = event.finalized.text
                silence.text_ms = silence.noticed_ms + event.finalized.timings.compute_ms
                break
    await call.done_writing()
    async for _ in events(call):
        pass
