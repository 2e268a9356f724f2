"""Ctrl-C ends the command with exit code 130 and one line, whatever it is at."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile as sf

from antiphon_bench.testing.synth import tone

Start = Callable[..., "subprocess.Popen[bytes]"]
# In the place of what the command imports first; as C extensions' and optional imports do, it swallows an interruption.
IMPORTED = """
import sys, time
print("importing", flush=True)
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
# In the place of what runs when the interpreter ends.
AT_THE_END = """
import atexit, time
def wait():
    print("ending", flush=True)
    time.sleep(60)
atexit.register(wait)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `antiphon` with these words, with `modules` before those that are installed. Kills what is left of it."""
    started: list[subprocess.Popen[bytes]] = []

    def command(*words: str, **modules: str) -> "subprocess.Popen[bytes]":
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        env = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "antiphon_cli", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env | {"PYTHONPATH": str(tmp_path)},
            )
        )
        return started[-1]

    yield command
    for one in started:
        with suppress(ProcessLookupError):
            one.kill()
        one.communicate()


def interrupted(child: "subprocess.Popen[bytes]") -> None:
    """Sends what Ctrl-C does, and holds how the command ends."""
    child.send_signal(signal.SIGINT)
    _, complaints = child.communicate(timeout=60)
    assert (child.returncode, complaints.decode()) == (130, "antiphon: interrupted\n")


def until(child: "subprocess.Popen[bytes]", line: bytes) -> None:
    assert child.stdout
    assert line in iter(child.stdout.readline, b"")


def test_an_import_that_swallows_the_interruption(start: Start) -> None:
    child = start("--help", loguru=IMPORTED)
    until(child, b"importing\n")
    interrupted(child)


def test_a_call_that_is_being_dialled(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "hello.wav"
    sf.write(path, tone(0.6, 16_000), 16_000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        child = start("call", str(path), "--url", f"ws://127.0.0.1:{silent.getsockname()[1]}/ws")
        line, _ = silent.accept()
        with line:
            line.settimeout(60)
            assert line.recv(1)  # it has asked, and waits for an answer
            interrupted(child)


def test_the_interpreters_own_end(start: Start) -> None:
    child = start("--help", sitecustomize=AT_THE_END)
    until(child, b"ending\n")
    interrupted(child)
