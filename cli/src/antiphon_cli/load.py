"""The command that places many calls at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from antiphon_bench import questions
from antiphon_bench.load import knee as search
from antiphon_bench.load import report
from antiphon_bench.load.html import write_html
from antiphon_bench.load.plan import Arrivals, Goal, Manner, Plan, PlanError, Transport
from antiphon_bench.load.run import Loaded, default_processes, load
from antiphon_bench.load.score import score
from antiphon_bench.machine import machine

from .platform import PORTS

app = typer.Typer()
out = Console()
err = Console(stderr=True)


@app.command("load")
def load_command(  # noqa: PLR0913  # a command's options
    url: Annotated[
        str, typer.Argument(help="ws://HOST:PORT/ws, or one service: asr://, tts://, llm:// or turn://HOST:PORT.")
    ] = f"ws://127.0.0.1:{PORTS['orchestrator']}/ws",
    callers: Annotated[int, typer.Option("--callers", "-n", min=1, help="How many call.")] = 10,
    turns: Annotated[int, typer.Option(min=1, help="Questions of each caller.")] = 3,
    folder: Annotated[
        Path | None, typer.Option("--questions", help="NAME.wav files, with NAME.txt and NAME.expect. Default: a set.")
    ] = None,
    transport: Annotated[Transport, typer.Option(help="How they call.")] = Transport.WS,
    arrivals: Annotated[Arrivals, typer.Option(help="When they call.")] = Arrivals.RAMP,
    over: Annotated[float, typer.Option(min=0, help="All have called by then, in seconds.")] = 5.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="An answer that has not begun by then is none.")] = 10.0,
    think: Annotated[float, typer.Option(min=0, help="Between an answer and the next question, in seconds.")] = 0.3,
    pause_share: Annotated[float, typer.Option(min=0, max=1, help="Of the turns, those with a hesitation.")] = 0.0,
    pause: Annotated[float, typer.Option(min=0, help="How long that is, in seconds.")] = 0.6,
    barge_in_share: Annotated[float, typer.Option(min=0, max=1, help="Of the answers, those broken into.")] = 0.0,
    barge_in_at: Annotated[float, typer.Option(min=0, help="How far into the answer, in seconds.")] = 0.5,
    noise: Annotated[float | None, typer.Option(help="White noise on every line, in dBFS, such as -45.")] = None,
    agent: Annotated[str | None, typer.Option(help="Which agent to call.")] = None,
    token: Annotated[str | None, typer.Option(help="A session token, if the orchestrator demands one.")] = None,
    processes: Annotated[int, typer.Option(min=0, help="Processes of callers. 0: as many as make sense.")] = 0,
    knee: Annotated[bool, typer.Option("--knee", help="Find the most callers that keep the goal.")] = False,
    most: Annotated[int, typer.Option(min=1, help="With --knee: try no more than these.")] = 1000,
    slo_ms: Annotated[float, typer.Option(min=1, help="The goal: p95 over all turns.")] = 1500.0,
    failed: Annotated[float, typer.Option(min=0, max=1, help="The goal: at most this share without answer.")] = 0.01,
    cores: Annotated[float, typer.Option(min=0.1, help="Cores or GPUs that the platform has.")] = 1.0,
    json_: Annotated[Path, typer.Option("--json", help="Every turn goes there.")] = Path("out/bench/load.json"),
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
) -> None:
    """Place many spoken calls at once, and tell what every turn was like.

    Percentiles rank all turns of all callers together, and a turn without a right answer counts with its time-out.
    Prints one BENCH line. Exits 1 when the goal is missed, with --knee when no number of callers keeps it.
    """
    plan = Plan(
        url=url,
        callers=callers,
        files=_files(folder),
        turns=turns,
        arrivals=arrivals,
        over_s=over,
        transport=transport,
        timeout_s=timeout,
        manner=Manner(think, pause_share, pause, barge_in_share, barge_in_at, noise),
        agent=agent,
        token=token,
    )
    goal = Goal(slo_ms, failed)
    found = _found(plan, goal, processes, most if knee else 0)
    _tell(found, goal, cores)
    report.save(report.content(found.levels, found.loaded, goal), json_)
    if html:
        _draw(found, f"{url}, {transport.value}", html)
    print(report.headline(found.loaded, found.levels, found.knee))
    if not (found.knee if found.levels else score(found.loaded.rows, timeout).keeps(goal)):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was run: one load, or the levels of a search, of which `loaded` is the knee's, or else the last."""

    loaded: Loaded
    levels: list[search.Level]
    knee: int = 0


def _tell(found: _Found, goal: Goal, cores: float) -> None:
    if found.levels:
        report.print_knee(found.levels, goal, found.knee, cores, out)
    else:
        report.print_loaded(found.loaded, out)


def _draw(found: _Found, called: str, page: Path) -> None:
    about = f"{called}; {machine()}; {report.pacing_line(found.loaded)}"
    write_html([one.loaded for one in found.levels] or [found.loaded], "Antiphon under load", about, page)
    out.print(f"the page is {page}", highlight=False)


def _found(plan: Plan, goal: Goal, processes: int, most: int) -> _Found:
    """Searches the knee when `most` callers are given."""
    if not most:
        return _Found(_run(plan, processes), [])
    levels = search.find_knee(plan, goal, most, lambda one: _run(one, processes))
    best = max((one for one in levels if one.kept), key=lambda one: one.callers, default=levels[-1])
    return _Found(best.loaded, levels, search.knee(levels))


def _run(plan: Plan, processes: int) -> Loaded:
    with report.watched(err, plan) as row:
        return load(plan, processes or default_processes(plan.callers), row)


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return questions()
    found = sorted(folder.glob("*.wav"))
    if not found:
        raise PlanError(f"{folder} has no WAV file")
    return found
