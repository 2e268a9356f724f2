"""A client that opens streams, sends noise into all of them, says when it is about to be killed, and never ends."""

import asyncio
import random
import sys

import grpc
import numpy as np
from asr_caller import COMMIT, SPECULATE, audio, config, finalize

from antiphon.asr.v1 import asr_pb2_grpc


async def noise(call: object, rng: random.Random) -> None:
    for id in range(1_000_000):
        samples = np.random.default_rng(id).normal(scale=2000, size=rng.randrange(1, 8000)).astype("<i2")
        await call.write(audio(samples.tobytes()))
        if rng.random() < 0.2:
            await call.write(finalize(id, rng.choice([SPECULATE, COMMIT])))
        await asyncio.sleep(rng.random() / 100)


async def main(port: int, streams: int) -> None:
    rng = random.Random(port)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.TaskGroup() as tasks:
        for index in range(streams):
            call = asr_pb2_grpc.AsrServiceStub(channel).Transcribe()
            await call.write(config(context_ms=rng.choice([80, 160, 560, 1120])))
            assert (await call.read()).WhichOneof("event") == "ready"
            tasks.create_task(noise(call, rng))
            if index == streams - 1:
                print("ready", flush=True)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
