"""Calls that are placed from beside the cluster, by the caller of `.venv`."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import KEYS, ROOT, Space

from antiphon_runtime.auth import Issuer

PYTHON = ROOT / ".venv/bin/python"
SCRIPT = Path(__file__).with_name("one_call.py")
LONGEST_S = 120


class OneCall:
    """What has become of the call, once the context of `placed` has ended."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}


@contextmanager
def placed(space: Space, *, question: int = 1, recording: Path | None = None) -> Iterator[OneCall]:
    """A call of one question. The context begins as the caller dials; its end waits for the answer."""
    token = Issuer(KEYS["session"].encode(), "antiphon.session").token()
    call = OneCall()
    with space.reached() as address:
        command = [str(PYTHON), str(SCRIPT), f"ws://{address}/ws", token, str(question)]
        command += [str(recording)] if recording else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout and process.stdout.readline() == "calling\n", process.communicate()[1]
                yield call
                out, err = process.communicate(timeout=LONGEST_S)
                assert process.returncode == 0, err
                call.told = json.loads(out)
            finally:
                process.kill()


def call(space: Space, **how: Any) -> dict[str, Any]:
    with placed(space, **how) as one:
        pass
    return one.told
