"""`python -m antiphon_cli.trouble`: the catalogue of troubled calls as one table, or random ones by a seed."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from rich.console import Console

import antiphon_bench.trouble.cases  # noqa: F401  # fills the catalogue
from antiphon_bench.machine import machine
from antiphon_bench.trouble.case import CATALOGUE, Case, Stack
from antiphon_bench.trouble.chance import as_case, combination, run_random
from antiphon_bench.trouble.expected import compare, read_expected
from antiphon_bench.trouble.model import ModelServer
from antiphon_bench.trouble.report import cases_table, complaints, headline, list_table
from antiphon_bench.trouble.run import Row, run_cases

from .stacks import Product, started

# Orchestrators that random combinations run on, one call at a time.
LANES = 5
JOBS = {Stack.STUB: 5, Stack.REAL: 2}


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that the options ask for."""
    if options.random:
        numbers = range(options.first, options.first + options.random)
        return [as_case(combination(options.seed, number)) for number in numbers]
    stacks = [Stack(name) for name in (Stack if options.stack == "all" else [options.stack])]
    return [
        case
        for case in CATALOGUE.values()
        if case.stack in stacks
        and (not options.only or any(part in (case.name, case.kind) or part in case.name for part in options.only))
    ]


async def measure(options: argparse.Namespace, cases: Sequence[Case], console: Console) -> list[Row]:
    """Every case on its stack, one stack after the other; random combinations on stubs."""
    product = Product.of(options.product)
    rows: list[Row] = []

    def note(row: Row) -> None:
        said = "ok" if row.passed else "; ".join(row.verdict.reasons)[:100]
        console.print(f"{row.case.name} {row.side}: {row.seconds:.1f} s, {said}", style="dim", highlight=False)

    server = ModelServer()
    recordings = options.output / "trouble"
    async with server.serving() as url:
        for stack in Stack:
            if not (some := [case for case in cases if case.stack is stack]):
                continue
            log = (options.output / f"trouble-{stack.value}.log").open("w")
            with log, TemporaryDirectory(prefix="antiphon-trouble-") as folder:
                say = partial(_say, log)
                async with started(product, stack, some, (server, url), Path(folder), say) as at:
                    if options.random:
                        lanes = options.jobs or LANES
                        rows += await run_random(some, at.lane, lanes, recordings, note, options.patience)
                    else:
                        jobs = options.jobs or JOBS[stack]
                        rows += await run_cases(some, at.place, jobs, recordings, note, options.patience)
    return rows


def _say(file: TextIO, name: str, line: str) -> None:
    print(name, line, file=file, flush=True)


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-trouble", description=__doc__)
    parser.add_argument("--stack", choices=["all", *Stack], default="all", help="stubs, real CPU models, or both")
    parser.add_argument("--only", nargs="+", default=[], help="cases whose name holds one of these, or kinds of cases")
    parser.add_argument("--list", action="store_true", help="print the catalogue and end")
    parser.add_argument("--jobs", type=int, default=0, help="calls at once; by default 5 on stubs, 2 on real models")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N random combinations on stubs instead")
    parser.add_argument("--seed", type=int, default=1, help="of the random combinations")
    parser.add_argument("--first", type=int, default=0, help="the first combination's number, to try one again")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="how many times as long things may take: busy machines"
    )
    parser.add_argument("--product", type=Path, help="measure the checkout in this folder instead, with its .venv")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    return parser.parse_args(arguments)


def main() -> None:
    options = read()
    cases = chosen(options)
    shown = Console(width=200 if not sys.stdout.isatty() else None)
    if options.list:
        shown.print(list_table(cases))
        return
    if not cases:
        sys.exit("no such case: see --list")
    options.output.mkdir(parents=True, exist_ok=True)
    rows = asyncio.run(measure(options, cases, Console(stderr=True)))
    expected = read_expected()
    passed = {row.case.name: row.passed for row in rows if row.side == "ours"}
    not_run = [row.case.name for row in rows if row.side == "ours" and not row.ran]
    compared = compare(passed, {} if options.random else expected, CATALOGUE, not_run)
    content = {"bench": "trouble", "machine": machine(), "rows": [row.to_json() for row in rows]}
    (options.output / "trouble.json").write_text(json.dumps(content, indent=1) + "\n")
    shown.print(cases_table([row for row in rows if not options.random or not row.passed], compared))
    for complaint in complaints(compared):
        print(complaint)
    print(headline(rows, compared))
    sys.exit(0 if compared.is_good else 1)


if __name__ == "__main__":
    main()
