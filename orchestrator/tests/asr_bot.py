"""A bot that listens by AntiphonSTTService alone, and what its caller says."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from own_bot import IMPATIENT, Bot, bot, dialled, settles, silence, tone
from pipecat.frames.frames import VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame

from antiphon_orchestrator.services import AntiphonSTTService
from antiphon_runtime.testing import Served

FIRST, SECOND = "Hello there.", "What can you do for me?"


@asynccontextmanager
async def listening(*services: Served, targets: Sequence[str] = (), **options: Any) -> AsyncIterator[tuple[Bot, Any]]:
    """A bot whose stream to one of the services is open; with `targets` instead, it is not waited for."""
    async with dialled("asr", *(targets or [served.target for served in services]), policy=IMPATIENT) as replicas:
        service = AntiphonSTTService(replicas=replicas, **options)
        async with bot(service) as at:
            await settles(lambda: targets or service._link.connected)
            yield at, service


def used(served: Served) -> float:
    return served.sample("antiphon_asr_slots_used")


def finalized(served: Served, mode: str) -> float:
    """Texts given."""
    return served.sample("antiphon_asr_finalized_total", mode=mode, outcome="text")


async def says(at: Bot, ms: int = 400) -> None:
    await at.send(VADUserStartedSpeakingFrame())
    await at.hear(tone(ms))


async def stops(at: Bot) -> None:
    """As a VAD tells it, 200 ms later."""
    await at.hear(silence(200))
    await at.send(VADUserStoppedSpeakingFrame(stop_secs=0.2))
