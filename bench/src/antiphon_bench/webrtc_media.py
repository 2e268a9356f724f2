"""Data channel and audio of a WebRTC connection, as every caller over WebRTC uses them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

# Pipecat's clients send them, and its own servers take a silent data channel for a hang-up.
PING_S = 1.0


async def ping(channel: Any) -> None:
    """Send pings until cancelled, as Pipecat's clients do."""
    while True:
        if channel.readyState == "open":
            channel.send(f"ping: {time.time_ns()}")
        await asyncio.sleep(PING_S)


async def received(track: Any) -> AsyncIterator[tuple[NDArray[np.float64], int]]:
    """Yield the samples of each frame, mixed to one channel of full scale 1, and their rate in Hz."""
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        channels = len(frame.layout.channels)
        yield frame.to_ndarray().reshape(-1, channels).mean(axis=1) / 32768.0, frame.sample_rate
