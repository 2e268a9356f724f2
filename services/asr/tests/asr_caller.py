"""A caller of the service, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from antiphon.asr.v1 import asr_pb2 as pb
from antiphon.asr.v1 import asr_pb2_grpc
from antiphon.common.v1 import audio_pb2
from antiphon_asr.service import SERVICE, build
from antiphon_asr.settings import Settings, read
from antiphon_runtime.testing import Served, serving

RATE = 16_000
SPECULATE, COMMIT = pb.FINALIZE_MODE_SPECULATE, pb.FINALIZE_MODE_COMMIT


def config(*, rate_hz: int = RATE, encoding: int = 1, **fields: Any) -> pb.TranscribeRequest:
    audio = audio_pb2.AudioFormat(encoding=encoding, sample_rate_hz=rate_hz)
    return pb.TranscribeRequest(config=pb.TranscribeConfig(audio=audio, **fields))


def audio(pcm: bytes) -> pb.TranscribeRequest:
    return pb.TranscribeRequest(audio=pcm)


def finalize(id: int, mode: int, end_sample: int = 0) -> pb.TranscribeRequest:
    return pb.TranscribeRequest(finalize=pb.Finalize(id=id, mode=mode, end_sample=end_sample))


def silence(samples: int) -> bytes:
    return bytes(2 * samples)


def loud(samples: int) -> bytes:
    return (1000).to_bytes(2, "little") * samples


def chunks(pcm: bytes, samples: int = RATE) -> Sequence[pb.TranscribeRequest]:
    return [audio(pcm[at : at + 2 * samples]) for at in range(0, len(pcm), 2 * samples)]


class Stream:
    """One RPC, ready."""

    def __init__(self, call: Any, ready: pb.Ready) -> None:
        self.call = call
        self.ready = ready
        self.interims: list[pb.Transcript] = []

    async def send(self, *requests: pb.TranscribeRequest) -> None:
        for request in requests:
            await self.call.write(request)

    async def event(self) -> pb.TranscribeResponse:
        return await self.call.read()

    async def finalized(self) -> pb.Finalized:
        """The next answer; interims before it are kept."""
        while (event := await self.call.read()).WhichOneof("event") != "finalized":
            self.interims.append(event.transcript)
        return event.finalized

    async def ask(self, id: int, mode: int, end_sample: int = 0) -> pb.Finalized:
        await self.send(finalize(id, mode, end_sample))
        answer = await self.finalized()
        assert (answer.id, answer.mode) == (id, mode)
        return answer

    async def event_after_commit(self, id: int) -> pb.TranscribeResponse:
        """What comes first once the utterance is committed."""
        await self.send(finalize(id, COMMIT))
        return await self.event()


@asynccontextmanager
async def asr(**settings: Any) -> AsyncIterator[Served]:
    configured: Settings = read(bind="127.0.0.1:0", grace_s=0.0, **settings)
    async with serving(SERVICE, build(configured), configured) as served:
        yield served


def stub(served: Served) -> Any:
    return asr_pb2_grpc.AsrServiceStub(served.channel)


@asynccontextmanager
async def stream(served: Served, first: pb.TranscribeRequest | None = None) -> AsyncIterator[Stream]:
    call = stub(served).Transcribe()
    try:
        await call.write(first or config())
        yield Stream(call, (await call.read()).ready)
    finally:
        call.cancel()
