"""`python -m antiphon_cli.rates`: voice-to-voice time of callers of several sample rates, in one run on stubs.

Calls of each rate in alternation. The utterance's end wanders over the caller's frame of 20 ms, the same way at every
rate: what is counted in such frames would otherwise hide a delay of a few milliseconds, or make a frame of it.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from antiphon_bench.frames import AgentAudio, Message, decode, encode_audio
from antiphon_bench.machine import machine
from antiphon_bench.stats import ranked_at
from antiphon_bench.testing.synth import tone
from antiphon_bench.wav import Pcm, to_pcm

from .conversation.sides import OFF, bench
from .supervisor import supervised

RATES_HZ = (8_000, 16_000, 44_100, 48_000)
# Callers that must not wait longer than those of the base rate, and by how much at most.
COMPARED_HZ, BASE_HZ, MOST_MS = (8_000, 48_000), 16_000, 20.0
TICK_S = 0.02
SPEECH_TICKS = 30
# Ends of the utterance within its last tick.
PHASES = 5
# The caller is silent until the answer, of half a second, has been heard for so long; or for so long without any.
ANSWER_S, NO_ANSWER_S = 0.9, 6.0
AUDIBLE = 0.006
SESSION_S = 30.0
Row = dict[str, Any]


async def bench_rates(rates_hz: Sequence[int], calls: int, turns: int, note: Callable[[str], None]) -> list[Row]:
    """Place `calls` calls of each rate, `turns` turns each, and return one row a turn."""
    rows: list[Row] = []
    with TemporaryDirectory(prefix="antiphon-") as folder:
        at = bench("zero", Path(folder))
        services = [process for process in at.processes if process.name not in at.urls or process.name == OFF]
        async with supervised(services, lambda *_: None):
            for call, rate_hz in itertools.product(range(calls), rates_hz):
                cuts = [(call * turns + turn) % PHASES / PHASES for turn in range(turns)]
                heard = await place_rate_call(at.urls[OFF], rate_hz, cuts)
                load = os.getloadavg()[0]
                rows += [{"call": call, "rate_hz": rate_hz, "heard_v2v_ms": ms, "load": load} for ms in heard]
                note(f"call {call + 1} of {calls} at {rate_hz} Hz: load {load:.2f}")
    return rows


async def place_rate_call(url: str, rate_hz: int, cuts: Sequence[float]) -> list[float | None]:
    """Say one utterance for each of `cuts`; from its last sound to the agent's first, in ms, None without an answer."""
    async with connect(url, compression=None, proxy=None, max_size=None) as socket:
        ear = _Ear()
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(ear.listen(socket))
            async with asyncio.timeout(SESSION_S):
                await ear.session.wait()
            heard = await _talk(socket, ear, rate_hz, cuts)
            listening.cancel()
    return heard


class _Ear:
    """Times of what the agent sends."""

    def __init__(self) -> None:
        self.session = asyncio.Event()
        self.first_s: float | None = None

    async def listen(self, socket: ClientConnection) -> None:
        async for payload in socket:
            match decode(payload):
                case AgentAudio(samples=samples, rate_hz=rate_hz) if self.first_s is None:
                    loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
                    if len(loud):
                        self.first_s = time.monotonic() + float(loud[0]) / rate_hz
                case Message(data={"type": "antiphon.session"}):
                    self.session.set()


async def _talk(socket: ClientConnection, ear: _Ear, rate_hz: int, cuts: Sequence[float]) -> list[float | None]:
    heard: list[float | None] = []
    samples = round(TICK_S * rate_hz)
    end_s = time.monotonic()
    for cut in cuts:
        said = utterance(rate_hz, cut)
        frames = np.pad(said, (0, SPEECH_TICKS * samples - len(said))).reshape(SPEECH_TICKS, samples)
        silent_s, ear.first_s = end_s + len(said) / rate_hz, None
        for frame in itertools.chain(frames, itertools.repeat(np.zeros(samples, np.int16))):
            # A tick's audio is sent when it is over, as a microphone would.
            end_s += TICK_S
            await asyncio.sleep(end_s - time.monotonic())
            await socket.send(encode_audio(frame.tobytes(), rate_hz))
            over_s = silent_s + NO_ANSWER_S if ear.first_s is None else ear.first_s + ANSWER_S
            if end_s >= max(over_s, silent_s):
                break
        heard.append(None if ear.first_s is None else round(1000 * (ear.first_s - silent_s), 1))
    return heard


def utterance(rate_hz: int, cut: float) -> Pcm:
    """Half a second and more of a tone; its last tick is cut short by the share `cut`."""
    return to_pcm(tone((SPEECH_TICKS - cut) * TICK_S, rate_hz))


def by_rate(rows: list[Row], share: float = 0.5) -> dict[int, float | None]:
    """Each rate's percentile, its median by default; a turn without an answer ranks above every other."""
    rates = sorted({row["rate_hz"] for row in rows})
    return {rate: ranked_at([row["heard_v2v_ms"] for row in rows if row["rate_hz"] == rate], share) for rate in rates}


def verdict(medians: dict[int, float | None]) -> tuple[str, bool]:
    """The line that the bench ends with, and whether the compared rates are as fast as the base rate."""
    known = [median for median in medians.values() if median is not None]
    spread = round(max(known) - min(known), 1) if len(known) == len(medians) and known else None
    line = " ".join(
        ["BENCH rates"]
        + [f"p50_{rate / 1000:g}k_ms={median}" for rate, median in medians.items()]
        + [f"spread_ms={spread}"]
    )
    base = medians.get(BASE_HZ)
    compared = [medians[rate] for rate in COMPARED_HZ if rate in medians]
    holds = base is not None and all(median is not None and abs(median - base) <= MOST_MS for median in compared)
    return line, holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=12, help="of each rate")
    parser.add_argument("--turns", type=int, default=2, help="of a call")
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES_HZ), help="Hz")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    options = parser.parse_args()
    rows = asyncio.run(
        bench_rates(options.rates, options.calls, options.turns, lambda text: print(text, file=sys.stderr))
    )
    options.output.mkdir(parents=True, exist_ok=True)
    content = {"bench": "rates", "machine": machine(), "rows": rows}
    (options.output / "rates.json").write_text(json.dumps(content) + "\n")
    medians, floors = by_rate(rows), by_rate(rows, 0.1)
    for rate, median in medians.items():
        print(f"{rate:6d} Hz: heard p50 {median} ms, p10 {floors[rate]} ms")
    line, holds = verdict(medians)
    print(line)
    if not holds:
        named = " and ".join(str(rate) for rate in COMPARED_HZ)
        sys.exit(f"callers at {named} Hz are not within {MOST_MS:g} ms of those at {BASE_HZ} Hz")


if __name__ == "__main__":
    main()
