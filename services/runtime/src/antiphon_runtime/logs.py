"""Logs: one line an event, coloured for people or JSON for machines, with the names of the call, turn and stream."""

import json
import logging
import sys
import time
from typing import Any

from opentelemetry import trace

from .calls import current_call
from .rpc import stream_id

COLORS = {"DEBUG": "\033[2m", "INFO": "", "WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m"}


class Colored(logging.Formatter):
    def __init__(self, *, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        name = stream_id() or (call.session_id[:16] if (call := current_call()) else "")
        about = f" [{name}]" if name else ""
        line = f"{clock}.{int(record.msecs):03d} {record.levelname.lower():7} {record.getMessage()}{about}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        start = COLORS.get(record.levelname, "") if self._color else ""
        return f"{start}{line}\033[0m" if start else line


class Json(logging.Formatter):
    """What a record carries as `extra={"fields": {...}}` becomes keys of the line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        entry: dict[str, Any] = {"ts": record.created, "level": record.levelname, "logger": record.name}
        entry |= {"message": message, **_names(), **getattr(record, "fields", {})}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _names() -> dict[str, Any]:
    """What the line is about: the call, its turn, the turn's trace, the stream."""
    call, span = current_call(), trace.get_current_span().get_span_context()
    # The web framework has spans of its own, which say less than the turn's.
    trace_id = call.trace_id if call else ""
    trace_id = trace_id or (trace.format_trace_id(span.trace_id) if span.is_valid else "")
    names: dict[str, Any] = {"stream_id": stream_id(), "trace_id": trace_id}
    if call:
        names |= {"session_id": call.session_id, "turn_id": call.turn_id}
    return {name: value for name, value in names.items() if value}


def set_up_logging(log_format: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if log_format == "json" else Colored(color=sys.stderr.isatty()))
    logging.basicConfig(level=level, handlers=[handler], force=True)
