"""`python -m antiphon_bench.llm.bench`: time to the first token, between tokens, and the model beside a voice.

Conversations at once, cold and warm; ten turns of one; then the model and the voice on one device, as fast as each can
and by turns, one after the other in the same run. On the CPU both are pinned to one core.
"""

import argparse
import asyncio
import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import random_checkpoint
from ..machine import load_average, machine
from ..process import running, setting
from .duet import Reply, Sides, callers
from .report import duet_table, level_table
from .talk import Level, at_once, row

# Enough for ten turns of SmolLM2.
N_CTX = 1024
NEMO_PYTHON = Path(".venv-nemo/bin/python")
GROWTH_TURNS, GROWTH_TOKENS = 10, 16


@dataclass(frozen=True, slots=True)
class Options:
    backend: str
    settings: Mapping[str, str]
    callers: tuple[int, ...]
    turns: int
    tokens: int
    rounds: int
    voices: tuple[str, ...]
    together: tuple[int, ...]
    core: int
    output: Path
    publish: Path | None


@dataclass(frozen=True, slots=True)
class Duet:
    """One voice, so many callers: each round's replies, unscheduled and by turns."""

    voice: str
    callers: int
    unscheduled: tuple[Reply, ...]
    by_turns: tuple[Reply, ...]

    def ratio(self, what: str) -> float:
        """Unscheduled over by turns, in the mean."""
        sides = [[getattr(reply, what) for reply in side] for side in (self.unscheduled, self.by_turns)]
        return float(statistics.mean(sides[0]) / statistics.mean(sides[1]))

    def to_json(self) -> dict[str, Any]:
        return {
            "voice": self.voice,
            "callers": self.callers,
            "unscheduled": [reply.to_json() for reply in self.unscheduled],
            "by_turns": [reply.to_json() for reply in self.by_turns],
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    levels: tuple[Level, ...]
    growth: tuple[Level, ...]
    duets: tuple[Duet, ...]


async def run(options: Options) -> Outcome:
    """All measurements. Raises NotReady when a service does not start."""
    options.output.mkdir(parents=True, exist_ok=True)
    levels = [await _level(count, options) for count in options.callers]
    async with running("llm", options.backend, _own(1, options), options.output / "llm.log") as llm:
        growth = [
            await at_once(llm.target, 1, GROWTH_TURNS, GROWTH_TOKENS, f"growth {number} ")
            for number in range(options.rounds)
        ]
    if any(voice.startswith("magpie") for voice in options.voices):
        await asyncio.to_thread(_checkpoint, options)
    duets = [await _duet(voice, count, options) for voice in options.voices for count in options.together]
    return Outcome(tuple(levels), tuple(growth), tuple(duets))


def _own(slots: int, options: Options) -> dict[str, str]:
    own = {"SLOTS": str(slots), "LLAMACPP__N_CTX": str(N_CTX), "GRANT_TIMEOUT_S": "300"}
    return own | dict(options.settings)


async def _level(count: int, options: Options) -> Level:
    async with running("llm", options.backend, _own(count, options), options.output / "llm.log") as llm:
        await at_once(llm.target, 1, 1, 4, "warm up ")
        level = await at_once(llm.target, count, options.turns, options.tokens)
    print(level_table([row(level)]).splitlines()[-1], flush=True)
    return level


async def _duet(voice: str, count: int, options: Options) -> Duet:
    """Both ways in turn, each with conversations of its own."""
    kind, _, mode = voice.partition("-")
    threads = {"LLAMACPP__THREADS": "1", "LLAMACPP__DECODE_THREADS": "1"}
    with _pinned(options.core):
        async with AsyncExitStack() as services:
            llm = await services.enter_async_context(
                running("llm", options.backend, _own(count, options) | threads, options.output / "llm-duet.log")
            )
            tts = await services.enter_async_context(_voice(kind, count, options))
            sides = Sides(llm.target, tts.target, mode)
            await callers(sides, count, options.tokens, "warm up ", turns=False)
            heard: dict[bool, list[Reply]] = {False: [], True: []}
            for number in range(options.rounds):
                for turns in (False, True):
                    name = f"{'turns' if turns else 'freed'} {number} "
                    heard[turns] += await callers(sides, count, options.tokens, name, turns=turns)
    duet = Duet(voice, count, tuple(heard[False]), tuple(heard[True]))
    print(duet_table([duet]).splitlines()[-1], flush=True)
    return duet


def _voice(kind: str, count: int, options: Options) -> Any:
    log = options.output / f"tts-{kind}.log"
    if kind != "magpie":
        return running("tts", kind, {"SLOTS": str(count)}, log)
    own = {
        "SLOTS": str(count),
        "MAGPIE__MODEL": str(_checkpoint(options)),
        "MAGPIE__NORMALIZE": "false",
        "MAGPIE__FRAMES_PER_TOKEN": "1.2",
    }
    return running("tts", kind, own, log, python=str(NEMO_PYTHON))


def _checkpoint(options: Options) -> Path:
    """Magpie's tiny model with random weights, made when it is first asked for."""
    path = options.output / "magpie-tiny.nemo"
    return random_checkpoint("antiphon-tts-random", path, "--size", "tiny", python=NEMO_PYTHON)


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    """Processes that begin meanwhile run on this core alone; where that cannot be said, wherever they like."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def growth(levels: Sequence[Level]) -> float | None:
    """The last turn's time to the first token over the second's: the median of the conversations."""
    ratios = []
    for level in levels:
        second, last = level.turns[1].ttft_ms, level.turns[-1].ttft_ms
        if second and last:
            ratios.append(last / second)
    return round(statistics.median(ratios), 2) if ratios else None


def headline(outcome: Outcome, options: Options) -> str:
    """The line that the bench ends with."""
    figures: dict[str, Any] = {"backend": options.backend}
    for level in outcome.levels:
        found = row(level)
        for name in ("cold_p50", "warm_p50", "warm_p95", "token_p50"):
            figures[f"{name}_ms_{level.callers}"] = None if found[name] is None else round(found[name], 1)
        figures[f"tokens_per_s_{level.callers}"] = round(found["tokens_per_s"], 1)
    figures["last_over_second_turn"] = growth(outcome.growth)
    for duet in outcome.duets:
        figures[f"sooner_{duet.voice}_{duet.callers}"] = round(duet.ratio("first_ms"), 2)
        figures[f"later_{duet.voice}_{duet.callers}"] = round(1 / duet.ratio("last_ms"), 2)
    figures["load"] = load_average()
    return " ".join(["BENCH llm", *(f"{key}={value}" for key, value in figures.items())])


def save(outcome: Outcome, options: Options) -> None:
    """Raw rows into llm.json, and into the published folder."""
    content = {
        "bench": "llm",
        "machine": machine(),
        "backend": options.backend,
        "settings": dict(options.settings),
        "levels": [level.to_json() for level in outcome.levels],
        "growth": [level.to_json() for level in outcome.growth],
        "duets": [duet.to_json() for duet in outcome.duets],
    }
    text = json.dumps(content, indent=1) + "\n"
    paths = [options.output / "llm.json"]
    if options.publish:
        paths.append(options.publish / f"llm-{options.backend}-cpu.json")
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="llamacpp", help="of the language model")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting of its service"
    )
    parser.add_argument("--callers", type=int, nargs="+", default=(1, 4, 16, 64), help="conversations at once")
    parser.add_argument("--turns", type=int, default=3, help="of each")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--rounds", type=int, default=3, help="of the ten turns, and of the model beside a voice")
    voices = ("hibari", "magpie-hybrid", "magpie-batch") if NEMO_PYTHON.exists() else ("hibari",)
    parser.add_argument("--voices", nargs="*", default=voices, help="to put beside the model: a backend, and a mode")
    parser.add_argument("--together", type=int, nargs="+", default=(1, 4), help="callers of the model beside a voice")
    parser.add_argument("--core", type=int, default=0, help="that both are pinned to")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="where the raw rows go")
    parser.add_argument("--publish", type=Path, help="also write the rows into this folder")
    found = vars(parser.parse_args(arguments))
    found["settings"] = dict(found.pop("set"))
    several = {name: tuple(found[name]) for name in ("callers", "voices", "together")}
    return Options(**found | several)


def main() -> None:
    options = read()
    outcome = asyncio.run(run(options))
    save(outcome, options)
    print("\nConversations at once, milliseconds:\n" + level_table([row(level) for level in outcome.levels]))
    print("\nThe model beside a voice on one device, milliseconds:\n" + duet_table(outcome.duets))
    print(headline(outcome, options))


if __name__ == "__main__":
    main()
