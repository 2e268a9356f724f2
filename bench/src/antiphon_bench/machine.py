"""The machine a figure was measured on, in words."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """For example `Linux x86_64, 2 x AMD EPYC 9B14, Python 3.11.7`."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} x {_processor()}, Python {platform.python_version()}"


def load_average() -> float | None:
    """Over the last minute; None where the system has no such figure."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or "processor of unknown make"
