"""Speech edges and turn verdicts in this process, for while the turn service is away."""

import asyncio

from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams, VADState

from antiphon.turn.v1 import turn_pb2 as pb


class LocalTurn:
    """Pipecat's Silero and Smart Turn, loaded when first needed, speaking the turn service's events.

    Its one silence is Pipecat's 200 ms, so it decides later than the service does.
    """

    STOP_S = 0.2

    def __init__(self) -> None:
        self._rate_hz = 0
        self._models: tuple[SileroVADAnalyzer, LocalSmartTurnAnalyzerV3] | None = None
        self._speaking = False

    async def start(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz

    def reset(self) -> None:
        """Forgets what was heard: the audio that comes next does not follow it."""
        self._speaking = False
        if self._models:
            vad, turn = self._models
            vad.set_sample_rate(self._rate_hz)  # sets its state back to quiet
            turn.clear()

    async def close(self) -> None:
        if self._models:
            for model in self._models:
                await model.cleanup()
            self._models = None

    async def hear(self, audio: bytes, heard_samples: int) -> list[pb.DetectResponse]:
        """The events that this audio, whose last sample is number `heard_samples`, brings about."""
        if self._models is None:
            self._models = await asyncio.to_thread(self._load)
        vad, turn = self._models
        state = await vad.analyze_audio(audio)
        speaking = state in (VADState.SPEAKING, VADState.STOPPING)
        turn.append_audio(audio, speaking)
        if speaking and not self._speaking:
            self._speaking = True
            start = max(0, heard_samples - round(self._rate_hz * vad.params.start_secs))
            return [pb.DetectResponse(speech_started=pb.SpeechStarted(sample=start))]
        if self._speaking and state is VADState.QUIET:
            self._speaking = False
            return await self._stopped(turn, heard_samples)
        return []

    async def _stopped(self, turn: LocalSmartTurnAnalyzerV3, heard_samples: int) -> list[pb.DetectResponse]:
        silence_ms = round(self.STOP_S * 1000)
        sample = max(1, heard_samples - round(self._rate_hz * self.STOP_S))
        state, _ = await turn.analyze_end_of_turn()
        complete = state is EndOfTurnState.COMPLETE
        verdict = pb.Verdict(sample=sample, silence_ms=silence_ms, probability=float(complete), complete=complete)
        return [
            pb.DetectResponse(speech_paused=pb.SpeechPaused(sample=sample, silence_ms=silence_ms)),
            pb.DetectResponse(verdict=verdict),
        ]

    def _load(self) -> tuple[SileroVADAnalyzer, LocalSmartTurnAnalyzerV3]:
        vad = SileroVADAnalyzer(params=VADParams(stop_secs=self.STOP_S))
        vad.set_sample_rate(self._rate_hz)
        turn = LocalSmartTurnAnalyzerV3()
        turn.set_sample_rate(self._rate_hz)
        return vad, turn
