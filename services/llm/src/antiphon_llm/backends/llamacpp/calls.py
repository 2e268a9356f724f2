"""Tool calls as the grammar has them: one a line, `{"tool": "NAME", "arguments": {...}}`."""

import json
import re
import secrets

from antiphon_runtime.errors import BackendFailed

from ...conversation import Call
from .. import CallPart

HEAD = re.compile(r'\s*\{"tool": ("(?:[^"\\]|\\.)*"), "arguments": ')


class Calls:
    """Reads calls as they are written."""

    def __init__(self) -> None:
        self._lines = [""]
        self._ids: list[str] = []
        self._told = 0

    def __bool__(self) -> bool:
        return bool(self._lines[0])

    def read(self, text: str) -> list[CallPart]:
        """Takes the next piece of text; returns what it adds to the arguments of calls."""
        parts = []
        for number, piece in enumerate(text.split("\n")):
            if number:
                self._lines.append("")
                self._told = 0
            self._lines[-1] += piece
            parts += self._parts()
        return parts

    def whole(self) -> list[Call]:
        """All of them. Raises BackendFailed when the model has not kept to the grammar."""
        lines = [line for line in self._lines if line.strip()]
        try:
            made = [json.loads(line) for line in lines]
            return [Call(self._id(n), one["tool"], json.dumps(one["arguments"])) for n, one in enumerate(made)]
        except (ValueError, KeyError, TypeError) as error:
            raise BackendFailed(f"the engine made a call that is none: {lines[-1][:200]}") from error

    def _parts(self) -> list[CallPart]:
        line, index = self._lines[-1], len(self._lines) - 1
        if not (head := HEAD.match(line)):
            return []
        # The last brace may be the call's own.
        begin, end = head.end() + self._told, len(line) - line.endswith("}")
        if end <= begin:
            return []
        self._told += end - begin
        return [CallPart(index, self._id(index), json.loads(head[1]), line[begin:end])]

    def _id(self, index: int) -> str:
        while len(self._ids) <= index:
            self._ids.append(f"call_{secrets.token_hex(8)}")
        return self._ids[index]
