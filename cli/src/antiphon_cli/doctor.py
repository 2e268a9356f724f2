"""What is installed, what is missing, which ports are taken, and how to mend it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.plugin import resolve

from .platform import BACKENDS, Plan, taken
from .weights import ALL, state

NEEDED_MB = 2500


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` says what to do when it is not `good`."""

    what: str
    good: bool
    detail: str
    remedy: str = ""


def examine(plan: Plan, folder: Path) -> Iterator[Finding]:
    """Looks at everything that a platform on this machine needs."""
    version = platform.python_version()
    yield Finding("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")
    for name in ("grpcio", "protobuf", "pipecat-ai", "onnxruntime", "xllamacpp", "hibari-tts"):
        yield _library(name)
    for service, backend in BACKENDS["cpu"].items():
        yield _backend(service, backend)
    for package in ALL:
        good, detail = state(folder, package)
        yield Finding(f"weights {package.name}", good, detail, "antiphon models fetch")
    for process in plan.processes():
        used = taken(process.bind)
        remedy = f"stop what listens on {process.bind}, or choose others: antiphon up --help"
        yield Finding(f"port of {process.name}", not used, f"{process.bind} {'in use' if used else 'free'}", remedy)
    free_mb = shutil.disk_usage(folder.parent if folder.parent.exists() else Path.home()).free >> 20
    yield Finding("disk", free_mb > NEEDED_MB, f"{free_mb} MB free", f"make room: {NEEDED_MB} MB are needed")
    yield Finding("cores", (os.cpu_count() or 1) >= 2, str(os.cpu_count()), "latencies are stated for two cores")


def _library(name: str) -> Finding:
    try:
        return Finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", "make setup")


def _backend(service: str, backend: str) -> Finding:
    table = resolve("table", {"table": f"antiphon_{service}.backends:BACKENDS"})
    try:
        resolve(backend, table)
    except ConfigError as error:
        return Finding(f"{service} backend", False, str(error), "make setup")
    return Finding(f"{service} backend", True, backend)
