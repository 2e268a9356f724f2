"""transcribe.py RECORDING FROM_S: prints what the agent says in a recording from then on, by Moonshine, in `.venv`."""

import asyncio
import sys
import tempfile
from pathlib import Path

import soundfile as sf

from antiphon_bench.asr.sets import Spoken
from antiphon_bench.asr.stream import Pace, StreamConfig, connected
from antiphon_bench.asr.wer import transcribe_set
from antiphon_bench.process import running
from antiphon_bench.wav import resampled, to_pcm

RATE_HZ = 16_000


async def main(recording: str, from_s: str) -> None:
    samples, rate = sf.read(recording, dtype="float32")
    agent = resampled(samples[round(float(from_s) * rate) :, 1], rate, RATE_HZ)
    silence = bytes(RATE_HZ)  # half a second
    spoken = [Spoken("answer", "unknown", silence + to_pcm(agent).tobytes() + silence)]
    with tempfile.TemporaryDirectory() as folder:
        async with running("asr", "moonshine", {}, Path(folder, "log")) as asr, connected([asr.target]) as replicas:
            result = await transcribe_set(replicas, spoken, StreamConfig(), backend="moonshine", pace=Pace.FAST)
    print(result.rows[0].answer.text if result.rows and result.rows[0].answer else "")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
