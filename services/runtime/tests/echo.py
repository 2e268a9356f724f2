"""A service that answers audio with its bytes as text; as a program, one that a test can start and signal.

The config's `model` says how a stream behaves: "mute" never answers, "refuse" is not taken, "slow cleanup" takes its
time when it is ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from pydantic_settings import SettingsConfigDict

from antiphon.asr.v1 import asr_pb2 as pb
from antiphon.asr.v1 import asr_pb2_grpc
from antiphon.common.v1 import stream_pb2
from antiphon_runtime.errors import InvalidInput, NoCapacity
from antiphon_runtime.metrics import SlotMetrics
from antiphon_runtime.rpc import stream_id
from antiphon_runtime.server import Build, Host, Register, run
from antiphon_runtime.settings import ServerSettings, read_settings
from antiphon_runtime.slots import Slots
from antiphon_runtime.stream import Replies, first_config

SERVICE = "antiphon.asr.v1.AsrService"


def config(model: str = "") -> pb.TranscribeRequest:
    return pb.TranscribeRequest(config=pb.TranscribeConfig(model=model))


def say(text: str) -> pb.TranscribeRequest:
    return pb.TranscribeRequest(audio=text.encode())


class Echo(asr_pb2_grpc.AsrServiceServicer):
    def __init__(self, slots: int = 100, name: str = "") -> None:
        self.name = name
        self.slot_count = slots
        self.attempts = 0
        self.tokens: list[str] = []
        self.happened: list[str] = []
        self.cancelled = asyncio.Event()
        self.holding = asyncio.Event()

    @asynccontextmanager
    async def build(self, host: Host) -> AsyncIterator[Register]:
        self.host = host
        self.slots = Slots(self.slot_count, SlotMetrics.register(host.registry, "echo"))
        try:
            yield lambda server: asr_pb2_grpc.add_AsrServiceServicer_to_server(self, server)
        finally:
            self.happened.append("model closed")

    async def Transcribe(self, requests, context) -> None:
        self.attempts += 1
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        wanted = await first_config(requests)
        if wanted.model == "refuse":
            raise InvalidInput("no such model: try another", reason="UNKNOWN_MODEL")
        with self.slots.hold():
            self.holding.set()
            try:
                await self._talk(requests, context, wanted)
            except asyncio.CancelledError:
                if wanted.model == "slow cleanup":
                    await asyncio.sleep(0.2)
                self.happened.append("stream cancelled")
                self.cancelled.set()
                raise

    async def _talk(self, requests, context, wanted) -> None:
        if wanted.model == "mute":
            await asyncio.Event().wait()
        replies = Replies(context)
        await replies.send(pb.TranscribeResponse(ready=pb.Ready(stream_id=stream_id(), config=wanted)))

        async def tell(deadline_ms: int) -> None:
            await replies.send(pb.TranscribeResponse(draining=stream_pb2.Draining(deadline_ms=deadline_ms)))

        async with self.host.drain.announced(tell), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._echo(requests, context, replies), name="echo")
        if wanted.model == "slow cleanup":
            await asyncio.Event().wait()

    async def _echo(self, requests, context, replies: Replies) -> None:
        async for request in requests:
            match request.audio:
                case b"boom":
                    raise RuntimeError("the database password is hunter2")
                case b"full":
                    raise NoCapacity("no room", reason="NO_SLOT")
                case b"lose":
                    self.host.lost.set()
                case b"long":
                    raise InvalidInput("ä" * 20_000)
                case b"abort":
                    await context.abort(grpc.StatusCode.NOT_FOUND, "by hand")
                case b"flood":
                    while True:
                        await replies.send(transcript("x" * 100_000))
                case audio:
                    await replies.send(transcript(self.name + audio.decode()))


def transcript(text: str) -> pb.TranscribeResponse:
    return pb.TranscribeResponse(transcript=pb.Transcript(text=text))


class EchoSettings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_ECHO_", frozen=True)

    bind: str = "127.0.0.1:0"
    # Loading ends when something is written to it.
    load_fifo: Path | None = None


def build(settings: EchoSettings) -> Build:
    @asynccontextmanager
    async def loaded(host: Host) -> AsyncIterator[Register]:
        if settings.load_fifo:
            await asyncio.to_thread(settings.load_fifo.read_text)
        async with Echo(settings.slots).build(host) as register:
            yield register

    return loaded


if __name__ == "__main__":
    run(lambda: read_settings(EchoSettings), SERVICE, build)
