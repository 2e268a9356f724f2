"""A bar that fills as the platform's processes get ready."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Say = Callable[[str, str], None]


@contextmanager
def start_up(console: Console, processes: int, say: Say) -> Iterator[tuple[Say, Callable[[], None]]]:
    """`say` with a bar under it, and what takes the bar away once all are ready. Shows no bar where nobody looks."""
    columns = (SpinnerColumn(), TextColumn("starting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("starting", total=processes)

    def told(name: str, line: str) -> None:
        say(name, line)
        if line.startswith("ready after"):
            bar.advance(task)

    bar.start()
    try:
        yield told, bar.stop
    finally:
        bar.stop()
