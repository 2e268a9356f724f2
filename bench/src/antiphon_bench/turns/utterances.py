"""The self-made set: sentences with hesitations, spoken by the laptop's voice at several pitches, with noise.

Each stretch between two marks is spoken by itself, so its melody falls as if it were the last one: harder for a judge
of sound than a person who hesitates, and no easier for one of words.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2, tts_pb2_grpc

from ..rpc import events
from ..speech import find_speech
from ..wav import CALL_RATE_HZ, Pcm, Samples, resampled, to_pcm

AUDIO = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=CALL_RATE_HZ)
MARK = " / "
PAUSES_S = (0.2, 1.5)
# After the end: longer than any policy waits.
TAIL_S = 2.2
LEAD_S = 0.3
# How much faster, and so higher, the one voice is played: four that sound like four people.
PITCHES = {"tuned": (0.86, 1.0), "scored": (0.93, 1.09)}
RENDITIONS = 4
SNRS_DB = (None, 30.0, 20.0)
COUGH_SHARE, COUGH_S = 0.25, 0.12


@dataclass(frozen=True, slots=True)
class Utterance:
    """16-bit audio at 16 kHz. The caller has finished at sample `end`; stretches before it end in a hesitation."""

    name: str
    part: str
    text: str
    pcm: Pcm
    end: int


def sentences(part: str) -> list[str]:
    """The sentences of a part, "tuned" or "scored": none is in both."""
    return Path(__file__).with_name(f"{part}.txt").read_text().splitlines()


async def made(target: str, part: str, most: int) -> list[Utterance]:
    """The part's utterances, at most `most`, from the voice at `target`. The same ones every time."""
    found: list[Utterance] = []
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = tts_pb2_grpc.TtsServiceStub(channel)
        for number, sentence in enumerate(sentences(part)):
            spoken = [await spoken(stub, stretch) for stretch in sentence.split(MARK)]
            for voice, pitch in enumerate(PITCHES[part]):
                stretches = [resampled(each, round(CALL_RATE_HZ * pitch), CALL_RATE_HZ) for each in spoken]
                for rendition in range(RENDITIONS):
                    name = f"{part}-{number:02}-{voice}-{rendition}"
                    found.append(rendered(name, part, sentence, stretches))
    every = max(1, len(found) // most)
    return found[::every][:most]


async def spoken(stub: Any, text: str) -> Samples:
    """One stretch at 16 kHz, without the silence around it."""
    call = stub.Synthesize()
    await call.write(tts_pb2.SynthesizeRequest(config=tts_pb2.SynthesizeConfig(audio=AUDIO)))
    await call.write(tts_pb2.SynthesizeRequest(text=text))
    await call.done_writing()
    pcm = b"".join([event.audio.pcm async for event in events(call) if event.WhichOneof("event") == "audio"])
    samples = np.frombuffer(pcm, np.int16).astype(np.float32) / np.float32(32768)
    segments = find_speech(samples, CALL_RATE_HZ).segments
    return samples[segments[0].start : segments[-1].end] if segments else samples


def rendered(name: str, part: str, text: str, stretches: Sequence[Samples]) -> Utterance:
    """The stretches with pauses between, silence and perhaps a cough after, and noise over all; `name` seeds it."""
    draw = random.Random(name)
    pieces = [np.zeros(round(LEAD_S * CALL_RATE_HZ), np.float32)]
    for number, stretch in enumerate(stretches):
        if number:
            pieces.append(np.zeros(round(draw.uniform(*PAUSES_S) * CALL_RATE_HZ), np.float32))
        pieces.append(stretch)
    end = sum(map(len, pieces))
    samples = np.concatenate([*pieces, np.zeros(round(TAIL_S * CALL_RATE_HZ), np.float32)])
    noise = np.random.default_rng(draw.getrandbits(32))
    level = float(np.sqrt(np.mean(np.square(np.concatenate(list(stretches))))))
    if draw.random() < COUGH_SHARE:
        at = end + round(draw.uniform(0.3, 0.9) * CALL_RATE_HZ)
        cough = noise.normal(0, level / 2, round(COUGH_S * CALL_RATE_HZ)) * np.hanning(round(COUGH_S * CALL_RATE_HZ))
        samples[at : at + len(cough)] += cough.astype(np.float32)
    if (snr_db := draw.choice(SNRS_DB)) is not None:
        samples += noise.normal(0, level * 10 ** (-snr_db / 20), len(samples)).astype(np.float32)
    return Utterance(name, part, text, to_pcm(samples), end)
