"""The caller's voice on a stack: tones for the stubs, the platform's own voice for real models."""

import grpc
import numpy as np

from antiphon.tts.v1 import tts_pb2_grpc
from antiphon_bench.trouble import sounds
from antiphon_bench.turns.utterances import spoken
from antiphon_bench.wav import Samples
from antiphon_tts.backends.stub import word_ms

# A tenth less than the tones of the words: playing may cut an edge.
STUB_SHARE = 0.9
# The voice says some 15 letters a second; an answer of which less is heard than this was broken off.
REAL_S_A_LETTER = 0.04


class StubVoice:
    """Utterances are tones, and answers are tones of known length."""

    def question(self, number: int = 1) -> Samples:
        return sounds.beep(0.8, 300.0 + 20.0 * number)

    async def words(self, text: str) -> Samples:
        return sounds.beep(0.06 * len(text))

    def least_s(self, answer: str) -> float:
        return STUB_SHARE * sum(map(word_ms, answer.split())) / 1000


class RealVoice:
    """Words are said by the text-to-speech service at `target`, and kept."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._kept: dict[str, Samples] = {}

    def question(self, number: int = 1) -> Samples:
        return sounds.question(number)

    async def words(self, text: str) -> Samples:
        if text not in self._kept:
            async with grpc.aio.insecure_channel(self._target) as channel:
                self._kept[text] = np.asarray(await spoken(tts_pb2_grpc.TtsServiceStub(channel), text))
        return self._kept[text]

    def least_s(self, answer: str) -> float:
        return REAL_S_A_LETTER * len(answer)
