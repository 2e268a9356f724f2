"""`python -m antiphon_bench.dialogue.bench`: a scripted conversation with tools, run through the service and scored.

Prints the row of the seed's model table: the three scores, the pass rate over all turns, the median run's, and the time
to the first token (of a turn's first request) as median, p95 and maximum.
"""

import argparse
import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from antiphon.llm.v1 import llm_pb2_grpc

from ..errors import BadScript
from ..llm.talk import Message
from ..machine import load_average, machine
from ..process import running, setting
from ..stats import summarise
from .importing import imported
from .judging import judged
from .knowledge import knowledge
from .rules import FAILED, Score, score, shares
from .script import SCRIPT, SYSTEM, TOOLS, Scripted
from .telephone import Answer, answered

MOST_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Options:
    backend: str
    target: str
    settings: Mapping[str, str]
    repeat: int
    turns: int
    events: int | None
    folder: Path | None
    judge: str
    output: Path


@dataclass(frozen=True, slots=True)
class Held:
    """One turn of one run."""

    line: str
    answer: Answer
    score: Score

    def to_json(self) -> dict[str, Any]:
        return {"line": self.line, "answer": self.answer.to_json(), "score": self.score.to_json()}


async def run(options: Options) -> list[list[Held]]:
    """Every run's turns. Raises NotReady when the service does not start, BadScript for what cannot be imported."""
    script, tools, known = SCRIPT, TOOLS, knowledge(options.events)
    if options.folder:
        script, tools, known = imported(options.folder)
    runs = []
    async with _service(options) as target:
        for number in range(options.repeat):
            runs.append(await hold(target, script[: options.turns], tools, known, options.judge))
            passed = sum(held.score.passed for held in runs[-1])
            print(f"run {number + 1}: {passed} of {len(runs[-1])} turns pass", flush=True)
    return runs


async def hold(
    target: str, script: Sequence[Scripted], tools: Sequence[Mapping[str, Any]], known: str, judge: str = ""
) -> list[Held]:
    """One conversation. A turn that fails is scored as such, and the call goes on."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = llm_pb2_grpc.LlmServiceStub(channel)
        messages: list[Message] = [{"role": "system", "content": SYSTEM + known}]
        held = []
        for due in script:
            messages.append({"role": "user", "content": due.line})
            answer = await answered(stub, messages, tools, due, MOST_TOKENS)
            heard = "\n".join(json.dumps(message) for message in messages)
            found = FAILED if answer.error else score(due, answer.text, answer.calls, heard)
            if judge and not answer.error:
                found = await judged(judge, due, answer, known, found)
            held.append(Held(due.line, answer, found))
        return held


@asynccontextmanager
async def _service(options: Options) -> AsyncIterator[str]:
    if options.target:
        yield options.target
        return
    own = {"LLAMACPP__N_CTX": "16384", "SLOTS": "1", **options.settings}
    async with running("llm", options.backend, own, options.output / "llm-dialogue.log") as llm:
        yield llm.target


def table(name: str, runs: Sequence[Sequence[Held]]) -> str:
    """The seed's row, as Markdown."""
    found = figures(runs)
    columns = ("tool use", "instruction", "grounding", "pass rate", "median rate", "TTFB med", "TTFB p95", "TTFB max")
    percent = [f"{found[key]:.1%}" for key in ("tool_use", "instruction", "grounding", "passed", "median")]
    times = ["–" if found[key] is None else f"{found[key]:.0f} ms" for key in ("ttfb_p50", "ttfb_p95", "ttfb_max")]
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in (("model", *columns), ("---",) * 9, (name, *percent, *times))
    )


def figures(runs: Sequence[Sequence[Held]]) -> dict[str, Any]:
    every = [held for run in runs for held in run]
    rates = [sum(held.score.passed for held in run) / len(run) for run in runs]
    ttfb = summarise([held.answer.ttft_ms for held in every])
    return {
        **shares([held.score for held in every]),
        "median": statistics.median(rates),
        "ttfb_p50": ttfb.p50_ms,
        "ttfb_p95": ttfb.p95_ms,
        "ttfb_max": ttfb.max_ms,
    }


def headline(options: Options, runs: Sequence[Sequence[Held]]) -> str:
    shown = {key: value if value is None else round(value, 3) for key, value in figures(runs).items()}
    about = {"backend": options.target or options.backend, "runs": len(runs), "turns": len(runs[0])}
    pairs = {**about, **shown, "load": load_average()}
    return " ".join(["BENCH conversation", *(f"{key}={value}" for key, value in pairs.items())])


def read(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="llamacpp", help="of a service to start")
    parser.add_argument("--target", default="", help="host:port of a running service, in place of one to start")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting of the service"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of the whole conversation")
    parser.add_argument("--turns", type=int, default=30, help="of the script, from its beginning")
    parser.add_argument("--events", type=int, help="of the programme, for a smaller knowledge base")
    parser.add_argument("--import", dest="folder", type=Path, help="a benchmark in the form of aiwf_medium_context")
    parser.add_argument("--judge", default="", help="host:port of a service whose model judges in place of the rules")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="where the raw rows go")
    found = vars(parser.parse_args(arguments))
    found["settings"] = dict(found.pop("set"))
    return Options(**found)


def main() -> None:
    options = read()
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        runs = asyncio.run(run(options))
    except BadScript as error:
        raise SystemExit(str(error)) from None
    rows = [[held.to_json() for held in run] for run in runs]
    content = {"bench": "conversation", "machine": machine(), "backend": options.backend, "runs": rows}
    (options.output / "conversation.json").write_text(json.dumps(content, indent=1) + "\n")
    print("\n" + table(options.target or options.backend, runs))
    print(headline(options, runs))


if __name__ == "__main__":
    main()
