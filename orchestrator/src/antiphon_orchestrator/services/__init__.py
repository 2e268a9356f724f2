"""Pipecat services over Antiphon's gRPC services. Any Pipecat bot can use them on their own; see the README."""

from .asr import AntiphonSTTService
from .frames import (
    CommitTurnFrame,
    EmptyUtteranceFrame,
    PauseTextFrame,
    SpeechPausedFrame,
    SpeechResumedFrame,
    TurnVerdictFrame,
)
from .interleaved_tts import InterleavedTTSService
from .llm import AntiphonLLMService
from .speculative_llm import SpeculativeLLMService
from .tts import AntiphonTTSService
from .turn import AntiphonTurnProcessor

__all__ = [
    "AntiphonLLMService",
    "AntiphonSTTService",
    "AntiphonTTSService",
    "AntiphonTurnProcessor",
    "CommitTurnFrame",
    "EmptyUtteranceFrame",
    "InterleavedTTSService",
    "PauseTextFrame",
    "SpeculativeLLMService",
    "SpeechPausedFrame",
    "SpeechResumedFrame",
    "TurnVerdictFrame",
]
