"""A model service as a process of an instrument's own."""

import asyncio
import os
import socket
import sys
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon_runtime.stream import unwrapped

from .errors import NotReady

# One thread each, and none that spins while it waits: see the platform's own.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: where it takes calls, and where its metrics are, each "host:port"; and its process."""

    target: str
    metrics: str
    pid: int = 0


def setting(text: str) -> tuple[str, str]:
    """NAME=VALUE, as a command line has a service's setting. Raises ArgumentTypeError for anything else."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as SLOTS=4")
    return name, value


@asynccontextmanager
async def running(
    name: str, backend: str, settings: Mapping[str, str], log: Path, *, python: str = sys.executable
) -> AsyncIterator[Service]:
    """The service `name`, such as "asr", with ANTIPHON_ASR_ `settings`, its lines in `log`, run by `python`.

    Raises NotReady when it ends before it is ready.
    """
    address, metrics = _free(), _free()
    own = {"BACKEND": backend, "BIND": address, "METRICS_BIND": metrics, "GRACE_S": "0", **settings}
    env = {**os.environ, **THREADS, **{f"ANTIPHON_{name.upper()}_{key}": value for key, value in own.items()}}
    log.parent.mkdir(parents=True, exist_ok=True)
    command = (python, "-m", f"antiphon_{name}")
    pipe, joined = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=joined)
    ready = asyncio.Event()
    async with unwrapped(), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_follow(process, log, ready))
        try:
            waiting = tasks.create_task(ready.wait())
            await asyncio.wait((waiting, following), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not ready.is_set():
                raise NotReady(f"the service {name} with {backend} has ended before it was ready: see {log}")
            yield Service(address, metrics, process.pid)
        finally:
            await _stop(process)


async def _follow(process: asyncio.subprocess.Process, log: Path, ready: asyncio.Event) -> None:
    assert process.stdout
    with log.open("wb") as file:
        async for line in process.stdout:
            file.write(line)
            file.flush()
            if b"is ready on port" in line:
                ready.set()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _free() -> str:
    """An address on loopback where nobody listens now."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"
