"""A turn service on a free port, callers for it, and audio with known boundaries: for tests of any package."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from antiphon.common.v1 import audio_pb2
from antiphon.turn.v1 import turn_pb2 as pb
from antiphon.turn.v1 import turn_pb2_grpc
from antiphon_runtime.testing import Served, collect, serving

from .service import SERVICE, build
from .settings import Settings

RATE = 16_000


def config(
    silences_ms: Iterable[int] = (),
    *,
    rate: int = RATE,
    model: str = "",
    encoding: audio_pb2.AudioEncoding.ValueType = audio_pb2.AUDIO_ENCODING_PCM_S16LE,
) -> pb.DetectRequest:
    audio = audio_pb2.AudioFormat(encoding=encoding, sample_rate_hz=rate)
    return pb.DetectRequest(config=pb.DetectConfig(audio=audio, model=model, verdict_silence_ms=silences_ms))


def pieces(pcm: bytes, ms: int) -> list[pb.DetectRequest]:
    """Audio requests of `ms` each; the last may be shorter."""
    size = RATE * ms // 1000 * 2
    return [pb.DetectRequest(audio=pcm[at : at + size]) for at in range(0, len(pcm), size)]


def silence(ms: int) -> bytes:
    return bytes(RATE * ms // 1000 * 2)


def tone(ms: int, level: int = 8000) -> bytes:
    """A square wave, loud from its first sample to its last."""
    return array("h", [level if i // 20 % 2 else -level for i in range(RATE * ms // 1000)]).tobytes()


def told(event: pb.DetectResponse) -> tuple[Any, ...]:
    """An event as a tuple that two runs can be compared by: everything but timings."""
    match event.WhichOneof("event"):
        case "speech_started":
            return ("started", event.speech_started.sample)
        case "speech_paused":
            return ("paused", event.speech_paused.sample, event.speech_paused.silence_ms)
        case "verdict":
            v = event.verdict
            return ("verdict", v.sample, v.silence_ms, round(v.probability, 4), v.complete)
        case other:
            return (other,)


@dataclass(frozen=True)
class Turn:
    """A served backend and its stub."""

    served: Served
    stub: "turn_pb2_grpc.TurnServiceAsyncStub"

    async def events(self, requests: Sequence[pb.DetectRequest]) -> list[tuple[Any, ...]]:
        """What a stream of `requests` was told after `ready`. Fails when it did not end well."""
        events, error = await collect(self.stub.Detect(iter(requests)))
        assert error is None, error
        assert events[0].WhichOneof("event") == "ready"
        return [told(event) for event in events[1:]]

    async def refusal(self, requests: Sequence[pb.DetectRequest]) -> Any:
        _, error = await collect(self.stub.Detect(iter(requests)))
        assert error is not None
        return error

    async def idle(self, tasks: int | None = None) -> None:
        """Returns once no slot is held, and no more than `tasks` tasks are left. Fails after five seconds."""
        async with asyncio.timeout(5):
            # Nothing announces a freed slot, nor should it for a test's sake.
            while self.served.sample("antiphon_turn_slots_used") or (tasks and len(asyncio.all_tasks()) > tasks):  # noqa: ASYNC110
                await asyncio.sleep(0)


@asynccontextmanager
async def serve(backend: str, **settings: Any) -> AsyncIterator[Turn]:
    """Serves `backend`; `settings` are fields of Settings."""
    given = Settings(bind="127.0.0.1:0", backend=backend, **{"grace_s": 0.0, **settings})
    async with serving(SERVICE, build(given), given) as served:
        yield Turn(served, turn_pb2_grpc.TurnServiceStub(served.channel))
