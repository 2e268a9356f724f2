"""Silero VAD and Smart Turn v3.2 on onnxruntime, both out of the installed pipecat wheel.

One session of each serves every speaker: Silero's state is an input of the model.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
from loguru import logger
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.settings import ServerSettings, read_settings

from ..batcher import Batcher
from ..edges import Rules
from . import Judged, Question

# The first import of pipecat logs a banner, which would break logs of one JSON object a line.
logger.disable("pipecat")
from pipecat.audio.turn.smart_turn._whisper_features import compute_whisper_log_mel_features  # noqa: E402

logger.enable("pipecat")

RATE_HZ = 16_000
# Silero v6 at 16 kHz: windows of 512 samples, each with the last 64 of the one before (pipecat/audio/vad/silero.py).
WINDOW = 512
CONTEXT = 64
# Silence shifts Silero's state so that it under-reports the speech after it; pipecat/audio/vad/silero.py therefore
# resets it after 2 s, as soon as this many windows in a row are clearly not speech.
RESET_AFTER_WINDOWS = 2 * RATE_HZ // WINDOW
RESET_RUN, RESET_BELOW = 5, 0.1
# Measured: a batch of 20 costs 0.044 ms a window, one alone 0.094 ms; beyond that nothing is gained.
MAX_VAD_BATCH = 32
JUDGED_SAMPLES = 8 * RATE_HZ

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

Floats = NDArray[np.float32]


class SmartTurnSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ANTIPHON_TURN_SMART_TURN__", frozen=True)

    threshold: Annotated[float, Field(gt=0, lt=1, description="Voice probability from which a window is speech.")] = 0.5
    leave_threshold: Annotated[float, Field(gt=0, lt=1, description="Speech that goes on ends below this.")] = 0.35
    start_ms: Annotated[int, Field(ge=1, le=960, description="Speech this long is reported as started.")] = 96
    resume_ms: Annotated[int, Field(ge=1, le=960, description="The same in a pause with verdicts to come.")] = 64
    complete_threshold: Annotated[float, Field(gt=0, lt=1, description="A verdict is complete from here.")] = 0.5
    max_batch: Annotated[int, Field(ge=1, le=64, description="Verdicts that the model gives in one call.")] = 1
    provider: Annotated[Literal["cpu", "cuda"], Field(description="Where Smart Turn runs; Silero is on the CPU.")] = (
        "cpu"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "SmartTurnSettings":
        if self.leave_threshold > self.threshold:
            raise ValueError("leave_threshold must not exceed threshold")
        return self


@dataclass(frozen=True, slots=True)
class Window:
    """A window with its context (576 samples), and the model's state (2, 128) before it."""

    samples: Floats
    state: Floats


@dataclass(frozen=True, slots=True)
class Scored:
    """A window's probability of voice, and the state after it."""

    probability: float
    state: Floats


@dataclass(frozen=True, slots=True)
class Memory:
    """What Silero knows of one speaker: its state, the end of the window before, and when to forget both."""

    state: Floats = field(default_factory=lambda: np.zeros((2, 128), np.float32))
    context: Floats = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))
    windows: int = 0
    low_run: int = 0

    def after(self, context: Floats, scored: Scored) -> "Memory":
        low_run = self.low_run + 1 if scored.probability < RESET_BELOW else 0
        if self.windows >= RESET_AFTER_WINDOWS and low_run >= RESET_RUN:
            return Memory()
        return Memory(scored.state, context, self.windows + 1, low_run)


class Silero:
    """The VAD. `score` is for one thread at a time."""

    def __init__(self) -> None:
        self._session = _session("pipecat.audio.vad.data", "silero_vad.onnx")
        self._rate = np.array(RATE_HZ, np.int64)

    def score(self, windows: Sequence[Window]) -> list[Scored]:
        samples = np.stack([window.samples for window in windows])
        state = np.stack([window.state for window in windows], axis=1)
        voice, after = self._session.run(None, {"input": samples, "state": state, "sr": self._rate})
        return [Scored(float(voice[i, 0]), after[:, i]) for i in range(len(windows))]


class SmartTurn:
    """The model that hears whether someone has finished. `judge` is for one thread at a time."""

    def __init__(self, provider: str = "cpu") -> None:
        """Raises ConfigError when the installed onnxruntime has no such provider."""
        self._session = _session("pipecat.audio.turn.smart_turn.data", "smart-turn-v3.2-cpu.onnx", provider)

    def judge(self, questions: Sequence[Question]) -> list[Judged]:
        began_s = time.monotonic()
        features = np.stack([features_of(question.pcm) for question in questions])
        (probabilities,) = self._session.run(None, {"input_features": features})
        return [Judged(float(probability), began_s) for probability in probabilities[:, 0]]


def features_of(pcm: bytes) -> Floats:
    """Log-mel features (80, 800) of the last 8 s, zeros before what is shorter, as in LocalSmartTurnAnalyzerV3."""
    audio = np.frombuffer(pcm, "<i2")[-JUDGED_SAMPLES:].astype(np.float32) / 32768
    padded = np.pad(audio, (JUDGED_SAMPLES - len(audio), 0))
    features: Floats = compute_whisper_log_mel_features(padded, do_normalize=True)
    return features


def _session(package: str, name: str, provider: str = "cpu") -> Any:
    if PROVIDERS[provider] not in (there := onnxruntime.get_available_providers()):
        raise ConfigError(
            f"ANTIPHON_TURN_SMART_TURN__PROVIDER is {provider}, but onnxruntime has {', '.join(there)}: "
            f"{provider} needs onnxruntime-gpu in place of onnxruntime"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with as_file(files(package).joinpath(name)) as path:
        return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[provider]])


class SmartTurnEar:
    def __init__(self, vad: Batcher[Window, Scored], turn: Batcher[Question, Judged]) -> None:
        self._vad = vad
        self._turn = turn
        self._memory = Memory()

    async def voice(self, frame: bytes) -> float:
        memory = self._memory
        samples = np.frombuffer(frame, "<i2").astype(np.float32) / 32768
        window: Floats = np.concatenate((memory.context, samples), dtype=np.float32)
        scored = await self._vad.ask(Window(window, memory.state))
        self._memory = memory.after(window[-CONTEXT:], scored)
        return scored.probability

    async def judge(self, question: Question) -> Judged:
        return await self._turn.ask(question)


class SmartTurnDetector:
    """16 kHz only, as both models are. Each model has a thread of its own."""

    models = ("smart-turn-v3.2",)
    rates_hz = (RATE_HZ,)

    def __init__(self, settings: SmartTurnSettings, silero: Silero, smart_turn: SmartTurn) -> None:
        self._settings = settings
        self._vad = Batcher(silero.score, max_batch=MAX_VAD_BATCH, name="silero")
        # The first verdict of a pause starts the reply: it does not queue behind another speaker's last one.
        self._turn = Batcher(
            smart_turn.judge,
            max_batch=settings.max_batch,
            name="smart-turn",
            urgency=lambda question: question.silence_ms,
        )

    @classmethod
    def load(cls, settings: ServerSettings) -> "SmartTurnDetector":
        """Raises ConfigError when the provider is not there."""
        own = read_settings(SmartTurnSettings)
        silero, smart_turn = Silero(), SmartTurn(own.provider)
        quiet = Window(np.zeros(CONTEXT + WINDOW, np.float32), np.zeros((2, 128), np.float32))
        for batch in {1, min(settings.slots, MAX_VAD_BATCH)}:
            silero.score([quiet] * batch)
        for batch in {1, own.max_batch}:
            smart_turn.judge([Question(b"", 0)] * batch)
        return cls(own, silero, smart_turn)

    def rules(self, rate_hz: int) -> Rules:
        own = self._settings
        return Rules(
            frame_samples=WINDOW,
            start_frames=_windows(own.start_ms),
            resume_frames=_windows(own.resume_ms),
            enter=own.threshold,
            leave=own.leave_threshold,
            complete_at=own.complete_threshold,
        )

    def ear(self, rate_hz: int) -> SmartTurnEar:
        return SmartTurnEar(self._vad, self._turn)

    def close(self) -> None:
        self._vad.close()
        self._turn.close()


def _windows(ms: int) -> int:
    return math.ceil(ms * RATE_HZ / 1000 / WINDOW)
