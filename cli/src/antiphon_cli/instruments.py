"""The commands that measure what runs somewhere: a recording, a remembered call, calls placed again and again."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console

from antiphon_bench import questions
from antiphon_bench.canary import CanaryMetrics, Outcome, Route, call_once, keep_calling
from antiphon_bench.recording import DEAD_AIR_S, LONGEST_PAUSE_S, analyse_sides
from antiphon_bench.recording_plot import plot_recording
from antiphon_bench.report import print_measure
from antiphon_bench.sides import Span, read_sides
from antiphon_orchestrator.gate import AUDIENCE
from antiphon_runtime.auth import Issuer, read_secret
from antiphon_runtime.logs import set_up_logging
from antiphon_runtime.metrics import metrics_endpoint

from .platform import PORTS
from .supervisor import until_signalled
from .why import print_why, remembered

app = typer.Typer()
out = Console()

CallUrl = Annotated[str, typer.Option(help="The orchestrator's WebSocket.")]
CALL_URL = f"ws://127.0.0.1:{PORTS['orchestrator']}/ws"
Token = Annotated[str | None, typer.Option(help="A session token, if the orchestrator demands one.")]


@app.command()
def measure(
    recording: Annotated[Path, typer.Argument(help="A stereo WAV, caller left, agent right; or the caller's, mono.")],
    agent: Annotated[Path | None, typer.Argument(help="The agent's, mono, begun at the same time.")] = None,
    caller_speaks: Annotated[
        list[str] | None, typer.Option(help="Of a mono mix, about when the caller does, as START-END in seconds.")
    ] = None,
    dead_air: Annotated[
        float, typer.Option(min=0.1, help="A caller who waits longer than this has dead air, in seconds.")
    ] = DEAD_AIR_S,
    plot: Annotated[Path | None, typer.Option(help="Draw the recording with what was found in it.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a recording: voice-to-voice time of each turn as heard, overlaps, barge-in to silence, and troubles.

    Troubles are dead air, replies that break off, silence after an interruption, and an agent that answers its echo.
    Within 10 ms on clean recordings, within 30 ms under noise 10 dB below the speech.
    """
    sides = read_sides(recording, agent, [_span(text) for text in caller_speaks or ()])
    result = analyse_sides(sides, LONGEST_PAUSE_S, dead_air)
    if plot:
        plot_recording(sides, result, plot)
    if json_:
        print(json.dumps(result.to_json(), indent=2))
    else:
        print_measure(result, out)


def _span(text: str) -> Span:
    start, _, end = text.partition("-")
    try:
        span = float(start), float(end)
    except ValueError:
        span = 0.0, 0.0
    if not 0 <= span[0] < span[1]:
        raise typer.BadParameter(f"{text!r} is not START-END in seconds, such as 0.5-2.3")
    return span


@app.command()
def why(
    name: Annotated[str, typer.Argument(help="A call's session id, or the trace id of one of its turns.")],
    url: Annotated[str, typer.Option(help="The orchestrator's page.")] = f"http://127.0.0.1:{PORTS['orchestrator']}",
    token: Token = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell why turns took as long as they did: each one's waterfall, and the stage that made it slower than usual."""
    call = remembered(url, name, token)
    if json_:
        print(json.dumps(call, indent=2, ensure_ascii=False))
    else:
        print_why(call, out)


@app.command()
def canary(
    files: Annotated[list[Path] | None, typer.Argument(help="WAV files to say. Default: one that ships.")] = None,
    url: CallUrl = CALL_URL,
    every: Annotated[float, typer.Option(min=1, help="From one call's beginning to the next one's, in seconds.")] = 60,
    agent: Annotated[str | None, typer.Option(help="Which agent to call. Default: the orchestrator's.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="The orchestrator's session secret, to make each call's token with.")
    ] = None,
    metrics_bind: Annotated[str, typer.Option(help="host:port to serve Prometheus on.")] = "127.0.0.1:9464",
    once: Annotated[bool, typer.Option("--once", help="Place one call; exit 1 unless it is answered.")] = False,
) -> None:
    """Place a spoken call every minute, and export what the caller heard: latency, success, words understood."""
    set_up_logging("color", "INFO")
    route = Route(url, files or questions()[:1], agent, _tokens(secret_file))
    registry = CollectorRegistry()
    metrics = CanaryMetrics.register(registry)
    if once:
        outcome: Outcome = asyncio.run(call_once(route, metrics))
        raise typer.Exit(0 if outcome == "answered" else 1)
    with metrics_endpoint(metrics_bind, registry):
        asyncio.run(_keep_calling(route, metrics, every))


async def _keep_calling(route: Route, metrics: CanaryMetrics, every_s: float) -> None:
    async with until_signalled() as stopped:
        calling = asyncio.create_task(keep_calling(route, metrics, every_s), name="canary")
        stopping = asyncio.create_task(stopped.wait(), name="signal")
        await asyncio.wait((calling, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (calling, stopping):
            task.cancel()
        ended = await asyncio.gather(calling, stopping, return_exceptions=True)
    if isinstance(ended[0], Exception):
        raise ended[0]


def _tokens(secret_file: Path | None) -> Callable[[], str | None]:
    if secret_file is None:
        return lambda: None
    issuer = Issuer(read_secret(secret_file), AUDIENCE)
    return lambda: issuer.token("canary")
