"""What callers say while the agent speaks: what listeners say, noises, and what is meant to stop it."""

import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from antiphon.tts.v1 import tts_pb2_grpc
from antiphon_orchestrator.turns.barge_in import BargeIn, Overlap, Ruling

from ..wav import CALL_RATE_HZ, Samples, resampled
from .listening import MS, Silence, each, judged, texts
from .scoring import DRAWS, TICK_MS, interval
from .utterances import COUGH_S, Utterance, rendered, spoken

PITCHES = (0.86, 0.93, 1.0, 1.09)
NOISES = 24
# How long after its last sound an overlap is still watched.
WATCHED_MS = 2000.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """An overlap as it was heard: where speech began, its pauses with the words by then. `stops`: it was meant to."""

    name: str
    stops: bool
    onset: int | None
    silences: tuple[Silence, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Spoken":
        return cls(**{**found, "silences": tuple(Silence.from_json(silence) for silence in found["silences"])})


@dataclass(frozen=True, slots=True)
class BargeInScore:
    """`missed` interruptions of all that were meant, `false_stops` of all that were not, each with its 95 % interval;
    `stop_ms` is the median from the beginning of speech until the agent was stopped, where it was meant."""

    missed: float
    missed_interval: tuple[float, float]
    false_stops: float
    false_stops_interval: tuple[float, float]
    stop_ms: float | None


async def made(target: str) -> list[Utterance]:
    """All of them, in four voices, from the voice at `target`; and bursts of noise. `part` is "stops" or "listens"."""
    found: list[Utterance] = []
    lines = Path(__file__).with_name("overlaps.txt").read_text().splitlines()
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = tts_pb2_grpc.TtsServiceStub(channel)
        for number, line in enumerate(lines):
            part, text = line.split("\t")
            samples = await spoken(stub, text)
            for voice, pitch in enumerate(PITCHES):
                pitched = resampled(samples, round(CALL_RATE_HZ * pitch), CALL_RATE_HZ)
                found.append(rendered(f"{part}-{number:02}-{voice}", part, text, [pitched]))
    return found + [rendered(f"noise-{number:02}", "listens", "", [_noise(number)]) for number in range(NOISES)]


def _noise(seed: int) -> Samples:
    """A cough, a knock, a door: a burst of noise."""
    draw = np.random.default_rng(seed)
    length = round(random.Random(seed).uniform(COUGH_S, 3 * COUGH_S) * CALL_RATE_HZ)
    burst: Samples = (draw.normal(0, 0.2, length) * np.hanning(length)).astype(np.float32)
    return burst


async def heard(turn: str, asr: str, utterances: Sequence[Utterance]) -> list[Spoken]:
    """In real time, a few at once; the recognizer is asked at each pause, as the orchestrator does."""
    return await each(turn, asr, utterances, _heard)


async def _heard(judge: Any, recognizer: Any, utterance: Utterance) -> Spoken:
    onset: int | None = None
    silences: list[Silence] = []
    async with aclosing(judged(judge, utterance.pcm.tobytes())) as said:
        async for event in said:
            match event.WhichOneof("event"):
                case "speech_started" if onset is None:
                    onset = event.speech_started.sample
                case "speech_started" if silences:
                    silences[-1].resumed = event.speech_started.sample
                case "speech_paused":
                    silences.append(Silence(event.speech_paused.sample, event.speech_paused.silence_ms))
    await texts(recognizer, utterance, silences)
    return Spoken(utterance.name, utterance.part == "stops", onset, tuple(silences))


def stopped_ms(overlap: Spoken, policy: BargeIn) -> float | None:
    """When the policy would have stopped the agent, from the beginning of speech; None when it would not."""
    if overlap.onset is None:
        return None
    onset_ms = overlap.onset / MS
    last_ms = overlap.silences[-1].sample / MS + WATCHED_MS if overlap.silences else onset_ms + WATCHED_MS
    for tick in range(1, int((last_ms - onset_ms) / TICK_MS)):
        now_ms = onset_ms + tick * TICK_MS
        if policy.decide(_known(overlap, onset_ms, now_ms)) is Ruling.STOP:  # also after it has been let go on
            return now_ms - onset_ms
    return None


def _known(overlap: Spoken, onset_ms: float, now_ms: float) -> Overlap:
    text, silence_ms, speech_ms = None, None, now_ms - onset_ms
    for silence in overlap.silences:
        began_ms = silence.sample / MS
        if began_ms + silence.noticed_ms > now_ms:
            break
        text = silence.text if began_ms + silence.text_ms <= now_ms else None
        over = silence.resumed is not None and silence.resumed / MS <= now_ms
        silence_ms = None if over else now_ms - began_ms
        speech_ms = now_ms - onset_ms if over else began_ms - onset_ms
    return Overlap(speech_ms, silence_ms, text)


def score(overlaps: Sequence[Spoken], policy: BargeIn, seed: int = 0) -> BargeInScore:
    """Shares, with intervals from DRAWS bootstrap samples."""
    times = {each.name: stopped_ms(each, policy) for each in overlaps}
    meant = [times[each.name] is None for each in overlaps if each.stops]
    not_meant = [times[each.name] is not None for each in overlaps if not each.stops]
    took = sorted(at for each in overlaps if each.stops and (at := times[each.name]) is not None)
    draw = random.Random(seed)
    return BargeInScore(
        sum(meant) / max(1, len(meant)),
        _interval(meant, draw),
        sum(not_meant) / max(1, len(not_meant)),
        _interval(not_meant, draw),
        took[len(took) // 2] if took else None,
    )


def _interval(happened: Sequence[bool], draw: random.Random) -> tuple[float, float]:
    if not happened:
        return 0.0, 0.0
    return interval([sum(draw.choices(happened, k=len(happened))) / len(happened) for _ in range(DRAWS)])
