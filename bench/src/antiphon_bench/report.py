"""Reports of the measuring tools for a terminal of 80 columns. No information depends on colour."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .call import Call, CallTurn, Stage
from .dead_air import Cause, Then
from .recording import Outcome, Result, Turn
from .stats import Latencies, summarise

BAR_COLUMNS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_call(call: Call, console: Console) -> None:
    """Print the text heard and answered in each turn with the server's timeline of it, and a summary line."""
    agent = call.agent or "the agent"
    console.print(Text(f"Call with {agent}", style="bold") + Text(f"  {call.session_id}", style="dim"))
    for number, turn in enumerate(call.turns, 1):
        console.print()
        _print_turn(number, turn, console)
    console.print()
    for error in call.errors:
        console.print(Text(f"server error {error.reason}: {error.message}", style="red"))
    answered = sum(turn.heard_v2v_ms is not None for turn in call.turns)
    console.print(
        _latency_line("heard V2V", summarise([turn.heard_v2v_ms for turn in call.turns]), answered), soft_wrap=False
    )
    _print_troubles(call.measured, console)
    console.print(Text(f"{call.machine}; load {_plain(call.load_average)}; {_line(call)}", style="dim"))


def print_measure(result: Result, console: Console) -> None:
    """The turns found in a recording, their latencies, and the levels they were found by."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("turn", "caller", "agent", "V2V"):
        table.add_column(name, justify="right")
    table.add_column("outcome")
    for turn in result.turns:
        table.add_row(str(turn.number), *_measured_cells(turn), _words(turn.outcome))
    console.print(table)
    console.print()
    summary = result.summary
    console.print(_latency_line("V2V", summary.v2v, summary.answered))
    console.print(
        f"{_count(summary.turns, 'turn')}: {summary.answered} answered, {summary.unanswered} unanswered, "
        f"{summary.talked_over} talked over"
    )
    for barge_in in result.barge_ins:
        console.print(
            f"barge-in in turn {barge_in.turn} at {barge_in.at_s:.2f} s: "
            f"the agent was silent after {barge_in.silent_after_ms:.0f} ms"
        )
    both = sum(overlap.end_s - overlap.start_s for overlap in result.overlaps)
    if result.overlaps:
        console.print(f"both spoke at once {_count(len(result.overlaps), 'time')}, {both:.2f} s in all")
    _print_troubles(result, console)
    for gap in result.silences:
        console.print(f"both were silent for {gap.end_s - gap.start_s:.1f} s at {gap.start_s:.2f} s")
    if result.echo is not None:
        console.print(
            f"the caller's side carries the agent's voice at {result.echo.gain_db:.0f} dB, "
            f"{result.echo.delay_ms:.0f} ms late: it is no turn"
        )
    for name, channel in (("caller", result.caller), ("agent", result.agent)):
        level = channel.threshold
        console.print(
            Text(
                f"{name}: {channel.speech_s:.1f} s of speech over {level.threshold_dbfs:.1f} dBFS "
                f"(noise {level.noise_floor_dbfs:.1f}, speech {level.speech_dbfs:.1f})",
                style="dim",
            )
        )


def _print_troubles(result: Result, console: Console) -> None:
    """Print the troubles that a caller had in spite of good latencies; nothing if there were none."""
    lines = [f"dead air of {gap.end_s - gap.start_s:.1f} s at {gap.start_s:.2f} s" for gap in result.dead_air]
    for one in result.broken_off:
        if one.is_trouble:
            why = {Cause.CALLER: "the caller broke in", Cause.ECHO: "it heard itself", Cause.NONE: "for no reason"}
            after = "nothing followed" if one.then is Then.NOTHING else "it began again"
            lines.append(f"a reply broke off at {one.at_s:.2f} s, {why[one.cause]}, and {after}")
    for silence in result.silence_after_interruption:
        lines.append(f"silence after the interruption in turn {silence.turn} at {silence.start_s:.2f} s")
    for talk in result.self_talk:
        lines.append(f"the agent talked to itself from {talk.start_s:.2f} s: it started over {talk.starts_over} times")
    for line in lines:
        console.print(Text(line, style="red"))


def waterfall(stages: Sequence[Stage]) -> Table:
    """A line per stage: its name, when it ran, and for how long, over one common scale."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, max_width=14, overflow="ellipsis")
    table.add_column(no_wrap=True, width=BAR_COLUMNS)
    table.add_column(justify="right", no_wrap=True)
    first = min((stage.start_ms for stage in stages), default=0.0)
    span = max((stage.end_ms for stage in stages), default=0.0) - first
    for stage in stages:
        bar = _bar(stage.start_ms - first, stage.end_ms - first, span)
        table.add_row(stage.name, bar, f"{stage.end_ms - stage.start_ms:.0f} ms")
    return table


def _print_turn(number: int, turn: CallTurn, console: Console) -> None:
    head = Text(f"{number}  {_words(turn.outcome)}", style="bold")
    head.append(f"   heard V2V {_ms(turn.heard_v2v_ms)}, server's {_ms(turn.v2v_ms)}", style="not bold")
    console.print(head)
    if turn.barge_in_ms is not None:
        console.print(f"   the caller broke in, and the agent was silent after {turn.barge_in_ms:.0f} ms")
    texts = Table.grid(padding=(0, 2))
    for name, text in (("said", turn.said), ("heard", turn.heard), ("answered", turn.answered)):
        texts.add_row(Text(name, style="dim"), Text(text or "-"))
    console.print(Padding(texts, (0, 0, 0, 3)))
    if turn.stages:
        console.print(Padding(waterfall(turn.stages), (0, 0, 0, 3)))


def _bar(start_ms: float, end_ms: float, span_ms: float) -> str:
    """A bar on a scale of `span_ms`, to an eighth of a column; whatever took any time can be seen."""
    if span_ms <= 0:
        return ""
    start = min(BAR_COLUMNS - 1, int(start_ms / span_ms * BAR_COLUMNS))
    eighths = max(1, round(end_ms / span_ms * BAR_COLUMNS * 8) - start * 8)
    whole, part = divmod(min(eighths, (BAR_COLUMNS - start) * 8), 8)
    return " " * start + "█" * whole + (_EIGHTHS[part] if part else "")


def _measured_cells(turn: Turn) -> tuple[str, str, str]:
    caller = f"{turn.caller_start_s:.2f} - {turn.caller_end_s:.2f} s"
    if turn.agent_start_s is None or turn.agent_end_s is None:
        return caller, "-", "-"
    return caller, f"{turn.agent_start_s:.2f} - {turn.agent_end_s:.2f} s", _ms(turn.v2v_ms)


def _latency_line(name: str, latencies: Latencies, answered: int) -> str:
    figures = (("p50", latencies.p50_ms), ("p95", latencies.p95_ms), ("max", latencies.max_ms))
    listed = ", ".join(f"{label} {'no answer' if value is None else _ms(value)}" for label, value in figures)
    return f"{name}: {listed} ({answered} of {_count(latencies.count, 'turn')} answered)"


def _line(call: Call) -> str:
    parts = [f"ticks at most {call.line.late_ms:.0f} ms late"]
    if call.line.underruns:
        parts.append(_count(call.line.underruns, "gap") + " in the audio")
    if call.line.overrun_s:
        parts.append(f"{call.line.overrun_s:.1f} s of audio did not fit")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _plain(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _words(outcome: str | Outcome) -> str:
    return str(outcome).replace("_", " ")
