"""The ASR RPC: requests in one task, events in another, both gone when either ends badly."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon.common.v1 import audio_pb2, stream_pb2
from antiphon_runtime.errors import InvalidInput, NoCapacity
from antiphon_runtime.pcm import checked_choice, checked_pcm, checked_rate
from antiphon_runtime.rpc import stream_id
from antiphon_runtime.slots import Slots
from antiphon_runtime.stream import Drain, Replies, first_config

from .backends import Finalize, Finalized, Heard, Mode, Recognizer, StreamConfig, Word
from .metrics import AsrMetrics
from .session import Session, opened

Requests = AsyncIterator[asr_pb2.TranscribeRequest]

MODES = {asr_pb2.FINALIZE_MODE_SPECULATE: Mode.SPECULATE, asr_pb2.FINALIZE_MODE_COMMIT: Mode.COMMIT}
WIRE_MODES = {mode: wire for wire, mode in MODES.items()}


class AsrServicer(asr_pb2_grpc.AsrServiceServicer):
    def __init__(self, recognizer: Recognizer, slots: Slots, drain: Drain, metrics: AsrMetrics) -> None:
        self._recognizer = recognizer
        self._slots = slots
        self._drain = drain
        self._metrics = metrics

    # A coroutine that writes, not a generator that yields: a task group must not span a yield.
    async def Transcribe(self, requests: Requests, context: Any) -> None:  # type: ignore[override]
        config = self._config(await first_config(requests))
        replies = Replies(context)

        async def tell(deadline_ms: int) -> None:
            draining = stream_pb2.Draining(deadline_ms=deadline_ms)
            await replies.send(asr_pb2.TranscribeResponse(draining=draining))

        with self._refusals_counted(), self._slots.hold():
            decoder = self._recognizer.decoder(config)
            async with opened(decoder, config.rate_hz, self._metrics) as session:
                await replies.send(_ready(config))
                async with self._drain.announced(tell), asyncio.TaskGroup() as tasks:
                    tasks.create_task(_listen(requests, session, config.rate_hz), name="listen")
                    tasks.create_task(_answer(session, replies), name="answer")

    def _config(self, config: asr_pb2.TranscribeConfig) -> StreamConfig:
        return StreamConfig(
            rate_hz=checked_rate(config.audio, self._recognizer.rates_hz),
            model=checked_choice("model", config.model, self._recognizer.models),
            language=checked_language(config.language_code, self._recognizer.languages),
            interim_results=config.interim_results,
            context_ms=checked_context(config.context_ms, self._recognizer.contexts_ms),
            word_times=checked_ability("word_times", config.word_times, self._recognizer.word_times),
            word_confidence=checked_ability(
                "word_confidence", config.word_confidence, self._recognizer.word_confidence
            ),
        )

    @contextmanager
    def _refusals_counted(self) -> Iterator[None]:
        try:
            yield
        except NoCapacity as refusal:
            self._metrics.refused.labels(refusal.reason.lower()).inc()
            raise


def checked_language(code: str, allowed: Sequence[str]) -> str:
    """`code`, or the default when it is empty. Raises InvalidInput when neither it nor its language is allowed."""
    spelled = {language.casefold(): language for language in allowed}
    if found := spelled.get(code.casefold()):
        return found
    if code.casefold().partition("-")[0] in spelled:
        return code
    return checked_choice("language", code, allowed)


def checked_context(context_ms: int, allowed: Sequence[int]) -> int:
    """`context_ms`, or the first of `allowed` when it is 0. Raises InvalidInput when it is none of them."""
    if not context_ms:
        return allowed[0] if allowed else 0
    if context_ms not in allowed:
        has = ", ".join(map(str, allowed)) if allowed else "no choice: send 0"
        raise InvalidInput(f"unknown context_ms {context_ms}: this model has {has}", reason="UNKNOWN_CONTEXT")
    return context_ms


def checked_ability(field: str, wanted: bool, able: bool) -> bool:
    """`wanted`. Raises InvalidInput when the model is not able to."""
    if wanted and not able:
        raise InvalidInput(f"config.{field} is not what this model can give: leave it out", reason="UNSUPPORTED_WORDS")
    return wanted


async def _listen(requests: Requests, session: Session, rate_hz: int) -> None:
    async for request in requests:
        match request.WhichOneof("request"):
            case "audio":
                await session.push(checked_pcm(request.audio, rate_hz))
            case "finalize":
                session.finalize(_finalize(request.finalize))
            case other:
                raise InvalidInput(f"after `config`, send audio or finalize, not {other or 'nothing'}")
    session.finish()


async def _answer(session: Session, replies: Replies) -> None:
    async for event in session:
        await replies.send(_wire(event))


def _finalize(request: asr_pb2.Finalize) -> Finalize:
    mode = MODES.get(request.mode)
    if mode is None:
        raise InvalidInput(f"finalize {request.id}: mode must be SPECULATE or COMMIT", reason="BAD_FINALIZE_MODE")
    return Finalize(request.id, mode, request.end_sample, request.traceparent)


def _ready(config: StreamConfig) -> asr_pb2.TranscribeResponse:
    audio = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=config.rate_hz)
    effective = asr_pb2.TranscribeConfig(
        audio=audio,
        model=config.model,
        language_code=config.language,
        interim_results=config.interim_results,
        context_ms=config.context_ms,
        word_times=config.word_times,
        word_confidence=config.word_confidence,
    )
    return asr_pb2.TranscribeResponse(ready=asr_pb2.Ready(stream_id=stream_id(), config=effective))


def _wire(event: Heard | Finalized) -> asr_pb2.TranscribeResponse:
    if isinstance(event, Heard):
        transcript = asr_pb2.Transcript(text=event.text, end_sample=event.end_sample, words=_words(event.words))
        return asr_pb2.TranscribeResponse(transcript=transcript)
    finalized = asr_pb2.Finalized(
        id=event.id,
        mode=WIRE_MODES[event.mode],
        text=event.text,
        empty=not event.text,
        end_sample=event.end_sample,
        words=_words(event.words),
        timings=stream_pb2.Timings(queue_ms=event.queue_ms, compute_ms=event.compute_ms),
    )
    return asr_pb2.TranscribeResponse(finalized=finalized)


def _words(words: Sequence[Word]) -> list[asr_pb2.Word]:
    return [
        asr_pb2.Word(
            text=word.text, start_sample=word.start_sample, end_sample=word.end_sample, confidence=word.confidence
        )
        for word in words
    ]
