"""The TTS RPC: text in one task, synthesis in another, events in a third, all gone when one ends badly."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

from antiphon.common.v1 import audio_pb2, stream_pb2
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc
from antiphon_runtime.errors import InvalidInput
from antiphon_runtime.pcm import checked_choice
from antiphon_runtime.rpc import stream_id
from antiphon_runtime.slots import Slots
from antiphon_runtime.stream import first_config

from .backends import Mode, Sampling, Synthesizer, Voice
from .metrics import TtsMetrics
from .reply import Audio, Clock, Event, Flushed, Reply, Skipped, Spoken
from .settings import Settings

Requests = AsyncIterator[tts_pb2.SynthesizeRequest]

MIN_RATE_HZ, MAX_RATE_HZ = 8000, 48000
MODES = {
    tts_pb2.SYNTHESIS_MODE_BATCH: Mode.BATCH,
    tts_pb2.SYNTHESIS_MODE_STREAM: Mode.STREAM,
    tts_pb2.SYNTHESIS_MODE_HYBRID: Mode.HYBRID,
}
WIRE_MODES = {mode: value for value, mode in MODES.items()}


class TtsServicer(tts_pb2_grpc.TtsServiceServicer):
    def __init__(self, synthesizer: Synthesizer, settings: Settings, metrics: TtsMetrics, clock: Clock) -> None:
        self._synthesizer = synthesizer
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._slots = Slots(settings.slots or synthesizer.default_slots, metrics.slots)

    # A coroutine that writes, not a generator that yields: a task group must not span a yield.
    async def Synthesize(self, requests: Requests, context: Any) -> None:  # type: ignore[override]
        voice = self._voice(await first_config(requests))
        with self._slots.hold():
            ready = tts_pb2.Ready(stream_id=stream_id(), config=self._effective(voice))
            await context.write(tts_pb2.SynthesizeResponse(ready=ready))
            reply = Reply(self._synthesizer, voice, self._settings, self._metrics, self._clock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_listen(requests, reply, context), name="listen")
                tasks.create_task(reply.speak(), name="speak")
                tasks.create_task(_send(reply, context), name="send")

    def _voice(self, config: tts_pb2.SynthesizeConfig) -> Voice:
        """What the caller asked for. Raises InvalidInput when we do not have it."""
        checked_choice("model", config.model, (self._synthesizer.model,))
        name = checked_choice("voice", config.voice, tuple(self._synthesizer.voices))
        language = checked_choice("language", config.language_code, self._synthesizer.voices[name])
        sampling = self._synthesizer.sampling(_sampling(config.sampling))
        return Voice(name, self._rate(config.audio), self._mode(config.mode), language, sampling)

    def _rate(self, audio: audio_pb2.AudioFormat) -> int:
        if audio.encoding != audio_pb2.AUDIO_ENCODING_PCM_S16LE:
            raise InvalidInput("config.audio.encoding must be AUDIO_ENCODING_PCM_S16LE", reason="UNSUPPORTED_ENCODING")
        rate_hz = audio.sample_rate_hz or self._synthesizer.rate_hz
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise InvalidInput(
                f"config.audio.sample_rate_hz {rate_hz} is not made: ask for {MIN_RATE_HZ} to {MAX_RATE_HZ}",
                reason="UNSUPPORTED_SAMPLE_RATE",
            )
        return rate_hz

    def _mode(self, value: Any) -> Mode:
        modes = self._synthesizer.modes
        if value == tts_pb2.SYNTHESIS_MODE_UNSPECIFIED:
            return modes[0]
        if (mode := MODES.get(value)) not in modes:
            raise InvalidInput(
                f"config.mode {mode or value} means nothing to model {self._synthesizer.model}: "
                f"ask for {', '.join(modes)}",
                reason="UNSUPPORTED_MODE",
            )
        return mode

    def _effective(self, voice: Voice) -> tts_pb2.SynthesizeConfig:
        return tts_pb2.SynthesizeConfig(
            audio=audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=voice.rate_hz),
            model=self._synthesizer.model,
            voice=voice.name,
            language_code=voice.language,
            mode=WIRE_MODES[voice.mode],
            sampling=tts_pb2.Sampling(
                temperature=voice.sampling.temperature,
                top_k=voice.sampling.top_k,
                seed=voice.sampling.seed,
                end_of_speech=voice.sampling.end_of_speech,
            ),
        )


def _sampling(wire: tts_pb2.Sampling) -> Sampling:
    """What the caller asked for. Raises InvalidInput for what no model can do."""

    def given(name: str) -> Any:
        return getattr(wire, name) if wire.HasField(name) else None  # type: ignore[arg-type]

    if wire.HasField("temperature") and not (math.isfinite(wire.temperature) and wire.temperature >= 0):
        raise InvalidInput("config.sampling.temperature must be 0 or more", reason="UNSUPPORTED_SAMPLING")
    if wire.top_k < 0:
        raise InvalidInput("config.sampling.top_k must be 0 or more", reason="UNSUPPORTED_SAMPLING")
    return Sampling(given("temperature"), given("top_k"), given("seed"), given("end_of_speech"))


async def _listen(requests: Requests, reply: Reply, context: Any) -> None:
    async for request in requests:
        match request.WhichOneof("request"):
            case "text":
                reply.text(request.text)
            case "flush":
                reply.flush(request.flush.mark)
            case _:
                raise InvalidInput("after `config`, send text or flush")
    if not context.cancelled():
        reply.finish()


async def _send(reply: Reply, context: Any) -> None:
    async for event in reply.events():
        await context.write(to_wire(event))


def to_wire(event: Event) -> tts_pb2.SynthesizeResponse:
    match event:
        case Audio(sequence, offset, pcm, timed):
            timings = stream_pb2.Timings(queue_ms=timed.queue_ms, compute_ms=timed.compute_ms) if timed else None
            audio = tts_pb2.Audio(sequence=sequence, offset_sample=offset, pcm=pcm, timings=timings)
            return tts_pb2.SynthesizeResponse(audio=audio)
        case Spoken(text, start_ms, end_ms):
            spoken = tts_pb2.Spoken(text=text, start_ms=start_ms, end_ms=end_ms)
            return tts_pb2.SynthesizeResponse(spoken=spoken)
        case Skipped(text):
            return tts_pb2.SynthesizeResponse(skipped=tts_pb2.Skipped(text=text))
        case Flushed(mark):
            return tts_pb2.SynthesizeResponse(flushed=tts_pb2.Flushed(mark=mark))
