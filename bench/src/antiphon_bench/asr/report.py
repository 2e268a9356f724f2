"""Word error rates for a terminal of 80 columns. Nothing depends on colour."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .wer import Row, WerResult

COLUMNS = ("backend", "WER", "sub/del/ins", "words", "failed", "final\np50/95/max", "speech end\np50/95")
# Files of a backend that are shown with what was heard, those with the most errors first.
SHOWN = 10


def print_wer(results: Sequence[WerResult], console: Console) -> None:
    """A line for each backend, times in ms, then how it was measured, and the files that were misheard or failed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "backend" else "right", overflow="fold")
    for result in results:
        errors = result.errors
        final, speech_end = result.final, result.speech_end
        table.add_row(
            Text(result.backend),
            f"{result.wer_pct:.1f}%",
            f"{errors.substitutions}/{errors.deletions}/{errors.insertions}",
            str(result.words),
            str(len(result.failed)),
            _times(final.p50_ms, final.p95_ms, final.max_ms),
            _times(speech_end.p50_ms, speech_end.p95_ms),
        )
    console.print(table)
    for result in results:
        console.print(_conditions(result))
        wrong = sorted((row for row in result.rows if row.errors.count), key=lambda row: -row.errors.count)
        for row in wrong[:SHOWN]:
            console.print(_misheard(result.backend, row))
        if len(wrong) > SHOWN:
            console.print(Text(f"and {len(wrong) - SHOWN} more files", style="dim"))


def row_line(row: Row) -> str:
    """A file in one line: how many words were wrong and how soon the text was there, or why it is missing."""
    if row.answer is None:
        return f"{row.file}: failed: {row.error}"
    return f"{row.file}: {row.errors.count} of {row.words} words wrong, final after {row.answer.final_ms:.0f} ms"


def _times(*values: float | None) -> str:
    return "/".join("none" if value is None else f"{value:.0f}" for value in values)


def _conditions(result: WerResult) -> Text:
    config = result.config
    context = f", context {config.context_ms} ms" if config.context_ms else ""
    seconds = sum(row.seconds for row in result.rows)
    return Text(
        f"{result.backend}: model {config.model or 'unknown'}, {config.language or 'unknown'}{context}; pace "
        f"{result.pace.value}, {result.at_once} at once, {seconds:.0f} s of audio in {result.wall_s:.0f} s"
    )


def _misheard(backend: str, row: Row) -> Text:
    heard = f"failed: {row.error}" if row.answer is None else f"heard {row.answer.text!r}"
    return Text(f"{backend}, {row.file}: said {row.said!r}, {heard}", style="dim")
