"""What benches of services on NeMo share: checkpoints of random weights, and what a service ran on."""

import subprocess
import sys
from pathlib import Path


def random_checkpoint(script: str, path: Path, *options: str, python: Path = Path(sys.executable)) -> Path:
    """`path`, made where it is not there by one of the services' scripts, which stands beside `python`.

    Raises SystemExit when that fails.
    """
    if not path.exists():
        print(f"makes {path}", flush=True)
        command = python.with_name(script)
        if subprocess.run([command, path, *options], capture_output=True, check=False).returncode:
            raise SystemExit(f"{command} has failed")
    return path


def device_in(log: Path) -> str:
    """What the model ran on, as its own process says at the start."""
    lines = log.read_text(errors="replace").splitlines()
    found = [line.rsplit(" on ", 1)[1] for line in lines if " slots of " in line]
    return found[0].strip() if found else "unknown"
