"""The four services as the orchestrator reaches them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon.llm.v1 import llm_pb2_grpc
from antiphon.tts.v1 import tts_pb2_grpc
from antiphon.turn.v1 import turn_pb2_grpc
from antiphon_runtime.auth import Issuer, read_secret
from antiphon_runtime.client import Replicas
from antiphon_runtime.phases import Phases
from antiphon_runtime.tls import ClientTls

from .manners.phrases import PhraseBook
from .settings import Settings

METHODS = {
    "asr": lambda channel: asr_pb2_grpc.AsrServiceStub(channel).Transcribe,
    "tts": lambda channel: tts_pb2_grpc.TtsServiceStub(channel).Synthesize,
    "llm": lambda channel: llm_pb2_grpc.LlmServiceStub(channel).Generate,
    "turn": lambda channel: turn_pb2_grpc.TurnServiceStub(channel).Detect,
}


@dataclass(frozen=True, slots=True)
class Backends:
    """One pool of replicas a service, shared by all sessions of the process.

    `device` is what the language model and the voice take turns on, None when each has its own; `phrases` have been
    spoken by the voice.
    """

    asr: Replicas
    tts: Replicas
    llm: Replicas
    turn: Replicas
    phrases: PhraseBook
    device: Phases | None = None

    @property
    def open_streams(self) -> dict[str, int]:
        return {name: getattr(self, name).open_streams for name in METHODS}


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Backends]:
    """The pools, closed when the context ends. Raises ConfigError for credentials that cannot be read."""
    secret = read_secret(settings.service_secret_file) if settings.service_secret_file else None
    async with AsyncExitStack() as stack:
        pools = {}
        for name, method in METHODS.items():
            tls = None
            if settings.service_ca_file:
                tls = ClientTls(settings.service_ca_file, settings.service_cert_file, settings.service_key_file)
            service = f"antiphon.{name}.v1.{name.capitalize()}Service"
            pool = Replicas(
                [target.strip() for target in getattr(settings, name).split(",") if target.strip()],
                method,
                issuer=Issuer(secret, service) if secret else None,
                tls=tls,
            )
            stack.push_async_callback(pool.close)
            pools[name] = pool
        device = Phases() if settings.single_gpu else None
        yield Backends(**pools, phrases=PhraseBook(pools["tts"]), device=device)
