"""`python -m antiphon_bench.asr.bench`: the batched recognizer beside the seed's way, on one machine in one run.

Random weights of Nemotron Speech's shape, or a real checkpoint. Both sides get the same audio from the same callers.
Needs the environment of `make setup-nemo`.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import device_in, random_checkpoint
from ..machine import load_average, machine
from ..process import Service, running
from .capacity import Row, climb, minute_steps, most_held, voices
from .load import as_fast_as_possible
from .plot import plot
from .stream import StreamConfig, connected

BACKENDS = {"ours": "nemo", "seed": "antiphon_asr.backends.nemo.one_at_a_time:OneAtATime"}
CONTEXTS_MS = (80, 160, 320, 560, 1120)
# The context of the seed's own figures, where both sides are compared.
COMPARED_MS = 160
COMPARED_STREAMS = 16
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Options:
    checkpoint: Path | None
    size: str
    contexts: tuple[int, ...]
    seconds: float
    most: int
    limit_ms: float
    minutes: int
    output: Path
    publish: Path | None

    @property
    def model(self) -> str:
        """What is measured, in a word."""
        return self.checkpoint.stem if self.checkpoint else f"random-{self.size}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rates` are seconds of audio a second, in turn; `minutes` the mean step in each minute of one stream, in ms."""

    device: str
    rows: tuple[Row, ...]
    rates: dict[str, list[float]]
    minutes: tuple[float, ...]


async def run(options: Options) -> Outcome:
    """All measurements. Raises NotReady when a service does not start."""
    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint or await _checkpoint(options)
    async with AsyncExitStack() as services:
        ours = await services.enter_async_context(_service("ours", checkpoint, options))
        seed = await services.enter_async_context(_service("seed", checkpoint, options))
        rates = await _rates(ours, seed, options)
        rows: list[Row] = []
        for context_ms in options.contexts:
            sides = [("ours", ours), ("seed", seed)] if context_ms == COMPARED_MS else [("ours", ours)]
            for engine, service in sides:
                rows += await climb(
                    engine,
                    service,
                    context_ms,
                    seconds=options.seconds,
                    most=options.most,
                    limit_ms=options.limit_ms,
                    done=_tell,
                )
        minutes = await minute_steps(ours, max(options.contexts), options.minutes)
        return Outcome(device_in(options.output / "asr-ours.log"), tuple(rows), rates, tuple(minutes))


async def _checkpoint(options: Options) -> Path:
    path = options.output / f"random-{options.size}.nemo"
    return await asyncio.to_thread(random_checkpoint, "antiphon-asr-random", path, "--size", options.size)


def _service(engine: str, checkpoint: Path, options: Options) -> Any:
    settings = {"NEMO__MODEL": str(checkpoint), "NEMO__MOST_SLOTS": str(options.most)}
    return running("asr", BACKENDS[engine], settings, options.output / f"asr-{engine}.log")


async def _rates(ours: Service, seed: Service, options: Options) -> dict[str, list[float]]:
    """Audio a second of both sides with COMPARED_STREAMS callers, as fast as they are taken, in turn."""
    rates: dict[str, list[float]] = {"ours": [], "seed": []}
    for _ in range(ROUNDS):
        for engine, service in (("ours", ours), ("seed", seed)):
            async with connected([service.target]) as replicas:
                rate = await as_fast_as_possible(
                    replicas,
                    voices(),
                    StreamConfig(context_ms=COMPARED_MS),
                    streams=COMPARED_STREAMS,
                    seconds=options.seconds,
                )
            rates[engine].append(rate)
            print(
                f"{engine}: {rate:.1f} s of audio a second, {COMPARED_STREAMS} streams, load {load_average()}",
                flush=True,
            )
    return rates


def _tell(row: Row) -> None:
    final, level = row.level.final, row.level
    times = ", ".join(
        f"{name} {'none' if value is None else f'{value:.0f}'}"
        for name, value in (("p50", final.p50_ms), ("p95", final.p95_ms), ("p99", final.p99_ms))
    )
    step = f"step {row.step_mean_ms:.1f} ms" if row.step_mean_ms else "no step"
    failed = f", {level.refused} refused, {level.lost} lost" if level.refused or level.lost else ""
    print(
        f"{row.engine} {row.context_ms} ms, {level.streams} callers: final {times} ms of {final.count}, {step}, "
        f"late {level.late_ms:.0f} ms, load {level.load_average}{failed}",
        flush=True,
    )


def headline(outcome: Outcome, options: Options) -> str:
    """The line that the bench ends with."""
    totals = {engine: sum(rates) for engine, rates in outcome.rates.items()}
    figures: dict[str, Any] = {"device": outcome.device, "model": options.model, "limit_ms": options.limit_ms}
    for context_ms in options.contexts:
        figures[f"streams_{context_ms}"] = most_held(outcome.rows, "ours", context_ms)
    if COMPARED_MS in options.contexts:
        figures[f"seed_streams_{COMPARED_MS}"] = most_held(outcome.rows, "seed", COMPARED_MS)
    figures["throughput_ratio"] = round(totals["ours"] / totals["seed"], 2)
    at = [row for row in outcome.rows if (row.engine, row.context_ms) == ("ours", COMPARED_MS) and row.holds]
    if at:
        final = max(at, key=lambda row: row.level.streams).level.final
        figures |= {"final_p50_ms": round(final.p50_ms or 0, 1), "final_p99_ms": round(final.p99_ms or 0, 1)}
    figures["last_over_first_minute"] = round(outcome.minutes[-1] / outcome.minutes[0], 3)
    figures["load"] = load_average()
    return " ".join(["BENCH asr", *(f"{key}={value}" for key, value in figures.items())])


def save(outcome: Outcome, options: Options) -> None:
    """Raw rows into asr.json, and into the published folder with a plot beside them."""
    content = {
        "bench": "asr",
        "machine": machine(),
        "device": outcome.device,
        "model": options.model,
        "limit_ms": options.limit_ms,
        "seconds_a_level": options.seconds,
        "rates": outcome.rates,
        "minute_steps_ms": outcome.minutes,
        "rows": [row.to_json() for row in outcome.rows],
    }
    text = json.dumps(content, indent=1) + "\n"
    (options.output / "asr.json").write_text(text)
    title = f"{options.model} on {outcome.device}; {machine()}; limit {options.limit_ms:g} ms"
    plot(outcome.rows, title, options.limit_ms, options.output / "asr.png")
    if options.publish:
        options.publish.mkdir(parents=True, exist_ok=True)
        name = f"asr-{options.model}-{outcome.device.partition(':')[0]}"
        (options.publish / f"{name}.json").write_text(text)
        plot(outcome.rows, title, options.limit_ms, options.publish / f"{name}.png")


def read(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a real .nemo file; default: random weights")
    parser.add_argument("--size", default="mid", help="of random weights: tiny, mid, or full, the 0.6B model's shape")
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS_MS, help="in ms")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each level lasts")
    parser.add_argument("--most", type=int, default=1024, help="callers at most")
    parser.add_argument("--limit-ms", type=float, default=240.0, help="p99 of the finalize up to which a level holds")
    parser.add_argument("--minutes", type=int, default=60, help="of audio on one stream")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="where the raw rows go")
    parser.add_argument("--publish", type=Path, help="also write rows and a plot into this folder")
    found = parser.parse_args(arguments)
    if found.minutes < 2:
        parser.error("--minutes: the last is compared with the first, so at least 2")
    return Options(**{**vars(found), "contexts": tuple(found.contexts)})


def main() -> None:
    options = read()
    outcome = asyncio.run(run(options))
    save(outcome, options)
    print(headline(outcome, options))


if __name__ == "__main__":
    main()
