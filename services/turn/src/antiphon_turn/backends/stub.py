"""A turn model that needs no model: loud frames are voice, and who has been silent for long enough has finished."""

import asyncio
import random
import time
from array import array
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.latency import Latency, profile
from antiphon_runtime.settings import ServerSettings, read_settings

from ..edges import Rules
from . import Judged, Question

VOICE_LEVEL = 500
FRAME_MS = 20
COMPLETE, INCOMPLETE = 0.9, 0.1

# Nobody has published percentiles of Smart Turn, so these are constant. 5090 and Spark: what the seed's median V2V
# leaves for Smart Turn and its framework together (reference/seed-system.md section 2, "Budget check"). H100: the
# nearest published GPU figure, 3.3 ms on an L40S (reference/performance.md section 5).
PROFILES = {
    "rtx5090": Latency(((0.0, 10.0), (1.0, 10.0))),
    "dgx-spark": Latency(((0.0, 18.0), (1.0, 18.0))),
    "h100": Latency(((0.0, 3.3), (1.0, 3.3))),
}


class StubSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_TURN_STUB__", frozen=True)

    complete_after_ms: Annotated[int, Field(ge=0, description="The silence from which a verdict is complete.")] = 200
    profile: Annotated[str, Field(description="Latency of verdicts: zero, rtx5090, dgx-spark or h100.")] = "zero"


class StubEar:
    def __init__(self, complete_after_ms: int, latency: Latency) -> None:
        self._complete_after_ms = complete_after_ms
        self._latency = latency
        self._rng = random.Random(0)

    async def voice(self, frame: bytes) -> float:
        samples = array("h", frame)
        return 1.0 if max(samples) > VOICE_LEVEL or min(samples) < -VOICE_LEVEL else 0.0

    async def judge(self, question: Question) -> Judged:
        began_s = time.monotonic()
        if delay_s := self._latency.draw(self._rng):
            await asyncio.sleep(delay_s)
        complete = question.silence_ms >= self._complete_after_ms
        return Judged(COMPLETE if complete else INCOMPLETE, began_s)


class StubDetector:
    """Two frames of 20 ms with a sample beyond ±500 begin speech; frames without one are silence."""

    models = ("stub",)
    rates_hz = (8000, 16000, 24000, 48000)

    def __init__(self, settings: StubSettings) -> None:
        self._settings = settings
        self._latency = profile(settings.profile, PROFILES)

    @classmethod
    def load(cls, settings: ServerSettings) -> "StubDetector":
        return cls(read_settings(StubSettings))

    def rules(self, rate_hz: int) -> Rules:
        return Rules(
            frame_samples=rate_hz * FRAME_MS // 1000,
            start_frames=2,
            resume_frames=2,
            enter=0.5,
            leave=0.5,
            complete_at=0.5,
        )

    def ear(self, rate_hz: int) -> StubEar:
        return StubEar(self._settings.complete_after_ms, self._latency)

    def close(self) -> None:
        pass
