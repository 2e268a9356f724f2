"""`python -m antiphon_bench.tts.bench`: time to first audio of batch and hybrid, beside the seed's way, in one run.

Random weights of Magpie's shape, whose speech is forced to a stated number of frames a text token, or a real
checkpoint. Sentences are spoken whole in every mode, so what differs is only when their sound is made. Needs the
environment of `make setup-nemo`.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import device_in, random_checkpoint
from ..machine import load_average, machine
from ..process import THREADS, Service, running
from ..scrape import scrape
from .load import Level, arriving, at_once, sentences
from .plot import plot
from .report import quality_table, ratio, table

BACKENDS = {"ours": "magpie", "seed": "antiphon_tts.backends.magpie.one_at_a_time:OneAtATime"}
# The seed's way costs so much that it gets every fifth sentence; ours speaks the same ones beside it.
COMPARED = slice(2, None, 5)
COMPARED_CALLERS = (1, 4)
WARM_UP = ("Yes.", "I can help you.", "The next train to Boston leaves from platform four in ten minutes.")
# Longer than the list's longest sentence: none is cut.
WHOLE = {"FIRST_MIN_WORDS": "100", "FIRST_MAX_WORDS": "100", "MAX_SEGMENT_CHARS": "400"}


@dataclass(frozen=True, slots=True)
class Options:
    checkpoint: Path | None
    size: str
    callers: tuple[int, ...]
    rate: float
    frames_per_token: float
    every: int
    output: Path
    publish: Path | None

    @property
    def model(self) -> str:
        """What is measured, in a word."""
        return self.checkpoint.stem if self.checkpoint else f"random-{self.size}"


@dataclass(frozen=True, slots=True)
class Outcome:
    device: str
    levels: tuple[Level, ...]
    compared: tuple[Level, ...]
    quality: tuple[dict[str, Any], ...]
    real_time_factor: float


async def run(options: Options) -> Outcome:
    """All measurements. Raises NotReady when a service does not start."""
    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint or await _checkpoint(options)
    quality = [await _quality(checkpoint)]
    if not options.checkpoint:
        ahead = await _checkpoint(options, "--look-ahead")
        quality.append(await _quality(ahead))
    async with AsyncExitStack() as services:
        ours = await services.enter_async_context(_service("ours", checkpoint, options))
        seed = await services.enter_async_context(_service("seed", checkpoint, options))
        for side in (ours, seed):
            await at_once("warm", side.target, WARM_UP, "batch", 1)
            await at_once("warm", side.target, WARM_UP, "stream", 2)
        compared = await _beside_the_seed(ours, seed, options)
        levels = await _modes(ours, options)
        factor = (await scrape(ours.metrics)).value("antiphon_tts_real_time_factor")
    return Outcome(device_in(options.output / "tts-ours.log"), tuple(levels), tuple(compared), tuple(quality), factor)


async def _checkpoint(options: Options, *kind: str) -> Path:
    path = options.output / f"magpie-{options.size}{''.join(kind)}.nemo"
    return await asyncio.to_thread(random_checkpoint, "antiphon-tts-random", path, "--size", options.size, *kind)


async def _quality(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's streamed sound against the whole."""
    command = (sys.executable, "-m", "antiphon_tts.backends.magpie.quality", str(checkpoint))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **THREADS}, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} has failed")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _service(side: str, checkpoint: Path, options: Options) -> Any:
    own = {
        "MAGPIE__MODEL": str(checkpoint),
        "MAGPIE__NORMALIZE": "false",
        "MAGPIE__FRAMES_PER_TOKEN": str(0 if options.checkpoint else options.frames_per_token),
        "SLOTS": str(max(options.callers)),
        **WHOLE,
    }
    return running("tts", BACKENDS[side], own, options.output / f"tts-{side}.log")


async def _beside_the_seed(ours: Service, seed: Service, options: Options) -> list[Level]:
    """The same sentences on both sides, in turn: NeMo's `do_tts` for batch, the seed's loop for stream."""
    texts = sentences()[COMPARED][:: options.every]
    levels = []
    for callers in COMPARED_CALLERS:
        for mode, our_mode in (("batch", "batch"), ("stream", "hybrid")):
            for side, service, kind in (("seed", seed, mode), ("ours", ours, our_mode)):
                levels.append(_told(await at_once(side, service.target, texts, kind, callers)))
    return levels


async def _modes(ours: Service, options: Options) -> list[Level]:
    """The whole list in each mode, in turn, for each number of callers; then callers who come at random."""
    levels = []
    for callers in options.callers:
        # Each caller has at least one sentence, and the list is always spoken as a whole.
        texts = sentences()[:: options.every] * -(-callers * options.every // len(sentences()))
        for mode in ("batch", "hybrid"):
            levels.append(_told(await at_once("ours", ours.target, texts, mode, callers)))
    if options.rate:
        texts = sentences()[:: options.every] * 4
        levels.append(_told(await arriving("ours", ours.target, texts, "hybrid", options.rate)))
    return levels


def _told(level: Level) -> Level:
    print(table([level]).splitlines()[-1], flush=True)
    return level


def headline(outcome: Outcome, options: Options) -> str:
    """The line that the bench ends with."""
    figures: dict[str, Any] = {"device": outcome.device, "model": options.model}
    for callers in options.callers:
        batch, hybrid = ({"side": "ours", "mode": mode, "callers": callers} for mode in ("batch", "hybrid"))
        level = next(one for one in outcome.levels if (one.mode, one.callers) == ("hybrid", callers))
        figures[f"hybrid_p50_ms_{callers}"] = round(level.ttfb.p50 or 0, 1)
        figures[f"hybrid_p95_ms_{callers}"] = round(level.ttfb.p95 or 0, 1)
        figures[f"dry_{callers}"] = level.dry
        figures[f"batch_over_hybrid_{callers}"] = ratio(outcome.levels, batch, hybrid)
    for callers in COMPARED_CALLERS:
        seed, ours = ({"side": side, "callers": callers} for side in ("seed", "ours"))
        figures[f"do_tts_over_hybrid_{callers}"] = ratio(
            outcome.compared, seed | {"mode": "batch"}, ours | {"mode": "hybrid"}
        )
        figures[f"seed_over_hybrid_{callers}"] = ratio(
            outcome.compared, seed | {"mode": "stream"}, ours | {"mode": "hybrid"}
        )
    figures["long_over_short"] = long_over_short(outcome.levels)
    figures["snr_db"] = "/".join(f"{row['snr_db']:.0f}" for row in outcome.quality)
    figures["real_time_factor"] = round(outcome.real_time_factor, 3)
    figures["load"] = load_average()
    return " ".join(["BENCH tts", *(f"{key}={value}" for key, value in figures.items())])


def long_over_short(levels: Sequence[Level]) -> float | None:
    """The mean time to first audio, hybrid with one caller, of sentences of 23 to 27 words over those of 4 to 6."""
    alone = next((one for one in levels if (one.mode, one.callers) == ("hybrid", 1)), None)
    if alone is None:
        return None
    means = []
    for words in (range(23, 28), range(4, 7)):
        found = [each.ttfb_ms for each in alone.heard if each.words in words and each.ttfb_ms is not None]
        if not found:
            return None
        means.append(sum(found) / len(found))
    return round(means[0] / means[1], 2)


def save(outcome: Outcome, options: Options) -> None:
    """Raw rows into tts.json, and into the published folder with a plot beside them."""
    content = {
        "bench": "tts",
        "machine": machine(),
        "device": outcome.device,
        "model": options.model,
        "frames_per_token": options.frames_per_token,
        "sentences": sentences(),
        "real_time_factor": outcome.real_time_factor,
        "quality": outcome.quality,
        "compared": [level.to_json() for level in outcome.compared],
        "levels": [level.to_json() for level in outcome.levels],
    }
    text = json.dumps(content, indent=1) + "\n"
    (options.output / "tts.json").write_text(text)
    title = f"{options.model} on {outcome.device}; {machine()}"
    levels = [*outcome.levels, *(level for level in outcome.compared if level.side == "seed")]
    plot(levels, title, options.output / "tts.png")
    if options.publish:
        options.publish.mkdir(parents=True, exist_ok=True)
        name = f"tts-{options.model}-{outcome.device.partition(':')[0]}"
        (options.publish / f"{name}.json").write_text(text)
        plot(levels, title, options.publish / f"{name}.png")


def read(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a real .nemo file; default: random weights")
    parser.add_argument("--size", default="tiny", help="of random weights: tiny, mid, or full, the 357M model's shape")
    parser.add_argument("--callers", type=int, nargs="+", default=(1, 4, 16, 64), help="at once")
    parser.add_argument("--rate", type=float, default=0.0, help="also callers who come at random, so many a second")
    parser.add_argument("--frames-per-token", type=float, default=1.2, help="of random weights' speech")
    parser.add_argument("--every", type=int, default=1, help="of the sentences, for a quick look")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="where the raw rows go")
    parser.add_argument("--publish", type=Path, help="also write rows and a plot into this folder")
    found = vars(parser.parse_args(arguments))
    return Options(**found | {"callers": tuple(found["callers"])})


def main() -> None:
    options = read()
    outcome = asyncio.run(run(options))
    save(outcome, options)
    print("\nBeside the seed's way:\n" + table(outcome.compared))
    print("\nBatch and hybrid:\n" + table(outcome.levels))
    print("\nStreamed against whole:\n" + quality_table(outcome.quality))
    print(headline(outcome, options))


if __name__ == "__main__":
    main()
