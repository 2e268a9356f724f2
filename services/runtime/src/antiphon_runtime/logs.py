"""Logs: one line an event, coloured for people or JSON for machines, with the stream's name."""

import json
import logging
import sys
import time

from opentelemetry import trace

from .rpc import stream_id

COLORS = {"DEBUG": "\033[2m", "INFO": "", "WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m"}


class Colored(logging.Formatter):
    def __init__(self, *, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        stream = f" [{stream_id()}]" if stream_id() else ""
        line = f"{clock}.{int(record.msecs):03d} {record.levelname.lower():7} {record.getMessage()}{stream}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        start = COLORS.get(record.levelname, "") if self._color else ""
        return f"{start}{line}\033[0m" if start else line


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"ts": record.created, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if stream_id():
            entry["stream_id"] = stream_id()
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            entry["trace_id"] = trace.format_trace_id(span.trace_id)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(log_format: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if log_format == "json" else Colored(color=sys.stderr.isatty()))
    logging.basicConfig(level=level, handlers=[handler], force=True)
