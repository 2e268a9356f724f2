"""`python -m antiphon_bench.turns.service`: how soon verdicts come, for how much of a core, one by one and batched.

So many speakers in real time, each with its own place in the shipped utterances; every level on a service of its own.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from antiphon.turn.v1 import turn_pb2, turn_pb2_grpc

from ..asr.sets import load_set, shipped
from ..machine import load_average, machine
from ..process import running, setting
from ..stats import ranked_at
from ..wav import CALL_RATE_HZ
from .listening import judged

# Between the places where speakers begin, round and round: no two of a few hundred begin at the same one.
APART_BYTES = 7919 * 640
# Between utterances: every default verdict falls due.
PAUSE_S = 1.5
# Verdicts whose probabilities are this near are the same one: 8-bit weights round by what is beside them.
SAME = 0.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a speaker's pause at `sample`; `ms` from the arrival of the audio that asked for it."""

    speaker: int
    sample: int
    silence_ms: int
    probability: float
    ms: float


@dataclass(frozen=True, slots=True)
class Level:
    """So many speakers for `seconds`; `cores` is the service's processor time a second, None where it cannot be read.

    `verdicts` are those that came before their speaker went on.
    """

    speakers: int
    max_batch: int
    seconds: float
    cores: float | None
    load: float | None
    pauses: int
    verdicts: tuple[Verdict, ...]

    def ms(self, share: float) -> float | None:
        return ranked_at([verdict.ms for verdict in self.verdicts], share)


async def level(speakers: int, max_batch: int, seconds: float, own: Mapping[str, str], log: Path) -> Level:
    """Raises NotReady when the service does not start, AioRpcError when a stream of it ends."""
    audio = speech(speakers, seconds)
    settings = {"SLOTS": str(speakers), "SMART_TURN__MAX_BATCH": str(max_batch), **own}
    async with (
        running("turn", "smart-turn", settings, log) as service,
        grpc.aio.insecure_channel(service.target) as channel,
    ):
        judge: Any = turn_pb2_grpc.TurnServiceStub(channel)
        before_s = processor_s(service.pid)
        async with asyncio.TaskGroup() as tasks:
            all_said = [tasks.create_task(_speak(judge, number, pcm)) for number, pcm in enumerate(audio)]
        after_s = processor_s(service.pid)
    said = [task.result() for task in all_said]
    cores = None if before_s is None or after_s is None else (after_s - before_s) / seconds
    verdicts = tuple(verdict for _, found in said for verdict in found)
    return Level(speakers, max_batch, seconds, cores, load_average(), sum(pauses for pauses, _ in said), verdicts)


async def _speak(judge: Any, number: int, pcm: bytes) -> tuple[int, list[Verdict]]:
    """One speaker's pauses, and the verdicts on them."""
    pauses, verdicts = 0, []
    async with aclosing(judged(judge, pcm)) as said:
        async for event in said:
            if event.WhichOneof("event") == "speech_paused":
                pauses += 1
            elif event.WhichOneof("event") == "verdict":
                verdicts.append(_read(number, event.verdict))
    return pauses, verdicts


def speech(speakers: int, seconds: float) -> list[bytes]:
    """For each the shipped utterances over and over with pauses between, begun at another place."""
    audio = b"".join(spoken.pcm + bytes(round(PAUSE_S * CALL_RATE_HZ) * 2) for spoken in load_set(shipped(), str.split))
    size = round(seconds * CALL_RATE_HZ) * 2
    endless = audio * (size // len(audio) + 2)
    starts = [number * APART_BYTES % len(audio) for number in range(speakers)]
    return [endless[start : start + size] for start in starts]


def _read(number: int, verdict: turn_pb2.Verdict) -> Verdict:
    ms = verdict.timings.queue_ms + verdict.timings.compute_ms
    return Verdict(number, verdict.sample, verdict.silence_ms, verdict.probability, ms)


def processor_s(pid: int) -> float | None:
    """The processor time that a process has used, where /proc tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def differing(levels: Sequence[Level]) -> tuple[int, int]:
    """Of the verdicts that several batch sizes gave on the same pause: how many differ, and how many there are."""
    found: dict[tuple[int, int, int, int], list[float]] = {}
    for each in levels:
        for verdict in each.verdicts:
            key = (each.speakers, verdict.speaker, verdict.sample, verdict.silence_ms)
            found.setdefault(key, []).append(verdict.probability)
    shared = [values for values in found.values() if len(values) > 1]
    return sum(max(values) - min(values) > SAME for values in shared), len(shared)


def table(levels: Sequence[Level]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("speakers", "batch", "verdicts", "p50", "p99", "cores", "load"):
        drawn.add_column(name, justify="right")
    for each in levels:
        p50, p99 = (f"{value:.0f} ms" if (value := each.ms(share)) is not None else "-" for share in (0.5, 0.99))
        cores = "-" if each.cores is None else f"{each.cores:.2f}"
        drawn.add_row(str(each.speakers), str(each.max_batch), str(len(each.verdicts)), p50, p99, cores, str(each.load))
    return drawn


def headline(levels: Sequence[Level]) -> str:
    """The line that the bench ends with."""
    figures: dict[str, Any] = {}
    for each in levels:
        name = f"{each.speakers}_batch_{each.max_batch}"
        p50, p99 = each.ms(0.5), each.ms(0.99)
        figures[f"p50_ms_{name}"] = None if p50 is None else round(p50, 1)
        figures[f"p99_ms_{name}"] = None if p99 is None else round(p99, 1)
        figures[f"cores_{name}"] = None if each.cores is None else round(each.cores, 2)
    figures["differ"], figures["compared"] = differing(levels)
    figures["load"] = load_average()
    return " ".join(["BENCH turn-service", *(f"{key}={value}" for key, value in figures.items())])


async def measure(options: argparse.Namespace) -> list[Level]:
    found = []
    for speakers in options.speakers:
        for batch in options.batches:
            log = options.output / "turn-service.log"
            found.append(await level(speakers, batch, options.seconds, dict(options.set), log))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="verdicts in one call of the model")
    parser.add_argument("--seconds", type=float, default=30.0, help="that each speaker is heard")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], help="NAME=VALUE, as SMART_TURN__PROVIDER=cuda"
    )
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--publish", type=Path, help="folder for the raw rows to be kept in as well")
    options = parser.parse_args()
    levels = asyncio.run(measure(options))
    content = {"bench": "turn-service", "machine": machine(), "levels": [asdict(each) for each in levels]}
    for folder, name in ((options.output, "turn-service.json"), (options.publish, "turn-service-cpu.json")):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content) + "\n")
    Console().print(table(levels))
    print(headline(levels))


if __name__ == "__main__":
    main()
