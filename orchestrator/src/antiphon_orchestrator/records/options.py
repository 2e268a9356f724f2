"""Options of recordings, and the reasons for which a recording may be incomplete."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Format = Literal["wav", "flac", "opus"]

# full: no space left, or over a quota or a limit of file size. denied: not permitted. io: another error of the file
# system. behind: the disk was too slow, audio was left out. unfinished: not complete in time at the end of the call.
Reason = Literal["full", "denied", "io", "behind", "unfinished", "internal"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """The options of all recordings of a process. `on_error` may be called by any thread."""

    folder: Path
    format: Format = "wav"
    on_error: Callable[[Reason], None] = lambda _reason: None
    # In seconds; only differences are used.
    clock: Callable[[], float] = time.monotonic
