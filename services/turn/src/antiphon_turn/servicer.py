"""The Detect RPC: requests in one task, verdicts in another, events in a third; all gone when one ends badly."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

from opentelemetry import propagate, trace

from antiphon.common.v1 import stream_pb2
from antiphon.turn.v1 import turn_pb2, turn_pb2_grpc
from antiphon_runtime.errors import InvalidInput
from antiphon_runtime.pcm import checked_choice, checked_pcm, checked_rate
from antiphon_runtime.rpc import stream_id
from antiphon_runtime.slots import Slots
from antiphon_runtime.stream import Drain, Replies, first_config

from .backends import Detector
from .edges import Paused, Started
from .metrics import TurnMetrics
from .session import Event, Session, Verdict

Requests = AsyncIterator[turn_pb2.DetectRequest]

DEFAULT_SILENCES_MS = (96, 200, 500, 1200)
MAX_SILENCES = 8
MIN_SILENCE_MS, MAX_SILENCE_MS = 32, 10_000


class TurnServicer(turn_pb2_grpc.TurnServiceServicer):
    def __init__(self, detector: Detector, slots: Slots, drain: Drain, metrics: TurnMetrics) -> None:
        self._detector = detector
        self._slots = slots
        self._drain = drain
        self._metrics = metrics

    # A coroutine that writes, not a generator that yields: a task group must not span a yield.
    async def Detect(self, requests: Requests, context: Any) -> None:  # type: ignore[override]
        config = self._effective(await first_config(requests))
        with self._slots.hold():
            replies = Replies(context)
            await replies.send(
                turn_pb2.DetectResponse(ready=turn_pb2.Ready(stream_id=stream_id(), config=config)),
            )

            async def tell(deadline_ms: int) -> None:
                draining = stream_pb2.Draining(deadline_ms=deadline_ms)
                await replies.send(turn_pb2.DetectResponse(draining=draining))

            async with self._drain.announced(tell):
                await _Stream(self._session(config), config.audio.sample_rate_hz, self._metrics).run(requests, replies)

    def _effective(self, config: turn_pb2.DetectConfig) -> turn_pb2.DetectConfig:
        checked_rate(config.audio, self._detector.rates_hz)
        return turn_pb2.DetectConfig(
            audio=config.audio,
            model=checked_choice("model", config.model, self._detector.models),
            verdict_silence_ms=_checked_silences(tuple(config.verdict_silence_ms)),
        )

    def _session(self, config: turn_pb2.DetectConfig) -> Session:
        rate_hz = config.audio.sample_rate_hz
        ear, rules = self._detector.ear(rate_hz), self._detector.rules(rate_hz)
        return Session(ear, rules, rate_hz, tuple(config.verdict_silence_ms), self._metrics)


class _Stream:
    def __init__(self, session: Session, rate_hz: int, metrics: TurnMetrics) -> None:
        self._session = session
        self._rate_hz = rate_hz
        self._metrics = metrics
        self._turn_id = 0
        self._traceparent = ""
        self._tracer = trace.get_tracer("antiphon")

    async def run(self, requests: Requests, replies: Replies) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(requests), name="listen")
            tasks.create_task(self._session.judge(), name="judge")
            tasks.create_task(self._answer(replies), name="answer")

    async def _listen(self, requests: Requests) -> None:
        async for request in requests:
            match request.WhichOneof("request"):
                case "audio":
                    await self._session.push(checked_pcm(request.audio, self._rate_hz))
                case "utterance":
                    self._traceparent = request.utterance.traceparent
                    if request.utterance.id != self._turn_id:
                        self._turn_id = request.utterance.id
                        self._session.begin_turn()
                case "agent_speaking":
                    self._session.agent_speaking = request.agent_speaking.speaking
                case other:
                    raise InvalidInput(f"after `config`, send audio, utterance or agent_speaking, not {other}")
        self._session.finish()

    async def _answer(self, replies: Replies) -> None:
        while (event := await self._session.next_event()) is not None:
            if isinstance(event, Verdict):
                self._record(event)
            await replies.send(to_wire(event, self._rate_hz))

    def _record(self, verdict: Verdict) -> None:
        elapsed_s = (verdict.queue_ms + verdict.compute_ms) / 1000
        self._metrics.verdict_seconds.observe(elapsed_s)
        self._metrics.verdict_queue_seconds.observe(verdict.queue_ms / 1000)
        self._metrics.verdicts.labels("complete" if verdict.complete else "incomplete").inc()
        span = self._tracer.start_span(
            "turn.verdict",
            context=propagate.extract({"traceparent": self._traceparent}) if self._traceparent else None,
            attributes={"antiphon.turn.silence_ms": verdict.silence_ms, "antiphon.turn.complete": verdict.complete},
            start_time=time.time_ns() - int(elapsed_s * 1e9),
        )
        span.end()


def _checked_silences(silences_ms: tuple[int, ...]) -> tuple[int, ...]:
    if not silences_ms:
        return DEFAULT_SILENCES_MS
    ascending = all(low < high for low, high in pairwise(silences_ms))
    in_range = min(silences_ms) >= MIN_SILENCE_MS and max(silences_ms) <= MAX_SILENCE_MS
    if not (ascending and in_range and len(silences_ms) <= MAX_SILENCES):
        raise InvalidInput(
            f"config.verdict_silence_ms {list(silences_ms)} is not taken: send at most {MAX_SILENCES} values, "
            f"ascending, from {MIN_SILENCE_MS} to {MAX_SILENCE_MS}",
            reason="BAD_VERDICT_SILENCES",
        )
    return silences_ms


def to_wire(event: Event, rate_hz: int) -> turn_pb2.DetectResponse:
    match event:
        case Started(sample):
            return turn_pb2.DetectResponse(speech_started=turn_pb2.SpeechStarted(sample=sample))
        case Paused(sample, silence_samples):
            silence_ms = silence_samples * 1000 // rate_hz
            return turn_pb2.DetectResponse(speech_paused=turn_pb2.SpeechPaused(sample=sample, silence_ms=silence_ms))
        case Verdict():
            return turn_pb2.DetectResponse(
                verdict=turn_pb2.Verdict(
                    sample=event.sample,
                    silence_ms=event.silence_ms,
                    probability=event.probability,
                    complete=event.complete,
                    timings=stream_pb2.Timings(queue_ms=event.queue_ms, compute_ms=event.compute_ms),
                )
            )
