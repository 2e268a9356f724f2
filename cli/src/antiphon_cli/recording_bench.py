"""Recordings of long calls and of killed processes: `make bench-recording`.

An hour of call in simulated time, as fast as the machine can: the stall of the event loop and the growth of memory.
And processes that record in real time, killed at random moments: what is left can be played, and how much is lost.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import soundfile as sf

from antiphon_bench.machine import load_average, machine
from antiphon_orchestrator.records.options import RecordingOptions
from antiphon_orchestrator.records.recording import MOST_PENDING_BYTES, Recording
from antiphon_orchestrator.records.stereo import LEAD_IN_S
from antiphon_orchestrator.serving import spare_lasting_objects

FORMATS = ("wav", "flac", "opus")
CALLER_HZ, AGENT_HZ = 16_000, 24_000
FRAME_S = 0.02
# What must hold, on an idle machine.
MOST_STALL_MS = 20.0
MOST_GROWTH_KIB = 8 * 1024
MOST_LOST_S = 5.0
# Memory is compared from here on, when everything that is needed once has been allocated.
SETTLED_S = 120.0
TICK_S = 0.002
EARLIEST_KILL_S, LATEST_KILL_S = 0.2, 10.0


class SimulatedClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Voices:
    """Frames of both sides: a tone in noise, the agent for half of the time."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._caller, self._agent = (
            (5000 * np.sin(2 * np.pi * 400 * np.arange(rate) / rate) + rng.normal(0, 200, rate)).astype("<i2").tobytes()
            for rate in (CALLER_HZ, AGENT_HZ)
        )

    def add(self, recording: Recording, number: int) -> None:
        recording.add_caller(_part(self._caller, number, CALLER_HZ), CALLER_HZ)
        if number // 250 % 2:
            recording.add_agent(_part(self._agent, number, AGENT_HZ), AGENT_HZ)


def _part(second: bytes, number: int, rate_hz: int) -> bytes:
    size = round(FRAME_S * rate_hz) * 2
    at = number * size % len(second)
    return second[at : at + size]


async def recorded(minutes: float, format: Any, folder: Path) -> dict[str, Any]:
    """A call of so many minutes in simulated time: the loop's longest stall, memory's growth, the file's length.

    `loop_busy_ms` is the CPU time of the loop's thread in the longest stretch between two ticks.
    """
    clock, errors = SimulatedClock(), list[str]()
    recording = Recording(f"hour-{format}", RecordingOptions(folder, format, errors.append, clock))
    stalls: list[tuple[float, float]] = []
    watching = asyncio.create_task(_watch(stalls), name="stall")
    began_s = time.monotonic()
    recording.start()
    settled_kib = await _feed(recording, clock, minutes * 60)
    await recording.finish(60)
    grown_kib = rss_kib() - settled_kib
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert recording.path
    return {
        "format": format,
        "minutes": minutes,
        "loop_stall_ms": round(1000 * max(late_s for late_s, _ in stalls), 2),
        "loop_busy_ms": round(1000 * max(busy_s for _, busy_s in stalls), 2),
        "memory_growth_kib": grown_kib,
        "recorded_s": length_s(recording.path, format),
        "file_mib": round(recording.path.stat().st_size / 2**20, 1),
        "errors": errors,
        "took_s": round(time.monotonic() - began_s, 1),
        "load": load_average(),
    }


async def _feed(recording: Recording, clock: SimulatedClock, until_s: float) -> int:
    """Both sides' audio, no faster than it is written. Returns the memory in use once it had settled, in KiB."""
    voices, settled_kib = Voices(), 0
    for number in range(round(until_s / FRAME_S)):
        clock.now_s = number * FRAME_S
        voices.add(recording, number)
        if clock.now_s <= min(SETTLED_S, until_s / 2):
            settled_kib = rss_kib() if number % 50 == 0 else settled_kib
        if number % 10 == 0:
            await asyncio.sleep(0)
        while recording.pending_bytes > MOST_PENDING_BYTES * 3 // 4:  # noqa: ASYNC110  # the thread announces nothing
            await asyncio.sleep(TICK_S)
    clock.now_s = until_s
    return settled_kib


async def _watch(stalls: list[tuple[float, float]]) -> None:
    """Notes by how much the loop runs late what is due, and its thread's own CPU time, which is not that of others."""
    while True:
        due_s, used_s = time.monotonic() + TICK_S, time.thread_time()
        await asyncio.sleep(TICK_S)
        stalls.append((time.monotonic() - due_s, time.thread_time() - used_s))


async def idle_stall_ms(duration_s: float = 5.0) -> float:
    """The longest stall of a loop that does nothing: the machine's own part."""
    stalls: list[tuple[float, float]] = []
    watching = asyncio.create_task(_watch(stalls), name="stall")
    await asyncio.sleep(duration_s)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return round(1000 * max(late_s for late_s, _ in stalls), 2)


def rss_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def killed(format: str, count: int, folder: Path, latest_s: float = LATEST_KILL_S) -> list[dict[str, Any]]:
    """Processes that record in real time, each killed at a moment of its own: what is left of each recording."""
    rng = random.Random(f"1-{format}")
    command = [sys.executable, "-m", __name__ if __name__ != "__main__" else "antiphon_cli.recording_bench"]
    rows: list[dict[str, Any]] = []
    children = []
    try:
        for number in range(count):
            options = ["--child", f"{format}-{number}", "--format", format, "--output", str(folder)]
            child = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
            children.append(child)
        moments = []
        for number, child in enumerate(children):
            assert child.stdout
            started_s = float(child.stdout.readline())
            moments.append((started_s + rng.uniform(EARLIEST_KILL_S, latest_s), started_s, number))
        latest_start_s = max((started_s for _, started_s, _ in moments), default=0.0)
        for at_s, started_s, number in sorted(moments):
            # Those that started earlier than the last one run longer by as much.
            time.sleep(max(0.0, at_s + latest_start_s - started_s - time.monotonic()))
            children[number].kill()
            ran_s = time.monotonic() - started_s
            children[number].wait()
            rows.append({"format": format, "ran_s": round(ran_s, 3), **left(folder / f"{format}-{number}.{format}")})
    finally:
        for child in children:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
    for row in rows:
        row["lost_s"] = round(row["ran_s"] - max(0.0, row["left_s"] - LEAD_IN_S), 3)
    return rows


def left(path: Path) -> dict[str, Any]:
    """The length of a recording as three readers have it, and whether they can read it all."""
    try:
        length = length_s(path, path.suffix[1:])
    except Exception as error:
        return {"playable": False, "left_s": 0.0, "error": repr(error)}
    return {"playable": True, "left_s": length}


def length_s(path: Path, format: str) -> float:
    """Read to its end by libsndfile, FFmpeg and, if it is a WAV, the standard library. Raises what they raise."""
    samples, rate_hz = sf.read(path, dtype="int16")
    with av.open(str(path)) as container:
        decoded_s = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    lengths = [len(samples) / rate_hz, decoded_s]
    if format == "wav":
        with wave.open(str(path)) as file:
            lengths.append(len(file.readframes(file.getnframes())) / 4 / file.getframerate())
    if max(lengths) - min(lengths) > 0.1:
        raise ValueError(f"readers disagree about the length of {path}: {lengths}")
    return float(round(min(lengths), 3))


def record_until_killed(name: str, format: Any, folder: Path) -> None:
    """Record in real time; prints when it started, by the system's monotonic clock."""
    recording, voices = Recording(name, RecordingOptions(folder, format)), Voices()
    recording.start()
    started_s = time.monotonic()
    print(started_s, flush=True)
    number = 0
    while True:
        time.sleep(max(0.0, started_s + number * FRAME_S - time.monotonic()))
        voices.add(recording, number)
        number += 1


def broken(hours: Sequence[dict[str, Any]], kills: Sequence[dict[str, Any]]) -> list[str]:
    """The bounds that do not hold, in words."""
    found = []
    for row in hours:
        at = f"{row['format']}, {row['minutes']:g} minutes"
        if row["loop_stall_ms"] >= MOST_STALL_MS:
            found.append(f"{at}: the loop stalled for {row['loop_stall_ms']} ms, over {MOST_STALL_MS}")
        if row["memory_growth_kib"] >= MOST_GROWTH_KIB:
            found.append(f"{at}: memory grew by {row['memory_growth_kib']} KiB, over {MOST_GROWTH_KIB}")
        if row["errors"] or abs(row["recorded_s"] - LEAD_IN_S - 60 * row["minutes"]) > 0.1:
            found.append(f"{at}: {row['recorded_s']} s were recorded, errors: {row['errors']}")
    for row in kills:
        if not row["playable"] or row["lost_s"] > MOST_LOST_S:
            found.append(f"{row['format']}, killed after {row['ran_s']} s: {row}")
    return found


def headline(hours: Sequence[dict[str, Any]], kills: Sequence[dict[str, Any]], idle_ms: float) -> str:
    figures = {
        "loop_stall_ms": max(row["loop_stall_ms"] for row in hours),
        "idle_loop_stall_ms": idle_ms,
        "loop_busy_ms": max(row["loop_busy_ms"] for row in hours),
        "memory_growth_kib": max(row["memory_growth_kib"] for row in hours),
        "killed": len(kills),
        "playable": sum(row["playable"] for row in kills),
        "lost_s_max": max((row["lost_s"] for row in kills), default=0.0),
        "load": load_average(),
    }
    return " ".join(["BENCH recording", *(f"{name}={value}" for name, value in figures.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=20, help="for each format")
    parser.add_argument("--format", choices=FORMATS, help="only this one")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="where the raw rows go")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        record_until_killed(options.child, options.format, options.output)
    formats = [options.format] if options.format else FORMATS
    spare_lasting_objects()  # as in the orchestrator, whose loop this stands for
    idle_ms = asyncio.run(idle_stall_ms())
    with TemporaryDirectory(prefix="antiphon-") as folder:
        calls = Path(folder) / "calls"
        hours = [asyncio.run(recorded(options.minutes, one, calls)) for one in formats]
        kills = [row for one in formats for row in killed(one, options.kills, calls)]
    content = {
        "bench": "recording",
        "machine": machine(),
        "idle_loop_stall_ms": idle_ms,
        "hours": hours,
        "kills": kills,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "recording.json").write_text(json.dumps(content, indent=1) + "\n")
    print(headline(hours, kills, idle_ms))
    for line in (wrong := broken(hours, kills)):
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
