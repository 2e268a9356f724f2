"""Repeats the tests marked `alone`, beside busy processes if asked. Prints a BENCH line; exits 1 if a run failed."""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "out/stress-alone"
# Ends by itself when whoever started it is gone, however that ended.
SPINNING = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"
# As in the Makefile.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
ENVIRONMENT |= {"LOGURU_AUTOINIT": "False"}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keeps that many cores busy, as `stress -c N` does, for as long as the context lasts."""
    started = [subprocess.Popen([sys.executable, "-c", SPINNING]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
        for one in started:
            one.wait()


def run_once(number: int, selection: list[str]) -> bool:
    """Runs the tests and says how it went. The output of a failed run is printed and kept."""
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *selection]
    began_s, log = time.monotonic(), LOGS / f"{number}.txt"
    with log.open("wb") as out:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=out, stderr=subprocess.STDOUT, check=False
        )
    text = log.read_text(errors="replace")
    words = (re.findall(r"\d+ (?:passed|failed|error|skipped).*", text) or [f"exit code {done.returncode}"])[-1]
    # A run in which nothing was tried, for want of Prometheus, shows nothing.
    good = done.returncode == 0 and "passed" in words and "skipped" not in words
    print(f"run {number}: {words} ({time.monotonic() - began_s:.0f} s)", flush=True)
    if not good:
        print(text[-4000:], flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how often (default: %(default)s)")
    parser.add_argument("--stress", type=int, default=0, help="busy processes beside them (default: none)")
    parser.add_argument("--mark", default="alone", help="which tests, as pytest's -m (default: %(default)s)")
    parser.add_argument("tests", nargs="*", default=["tests"], help="where they are (default: %(default)s)")
    given = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    selection = [*(["-m", given.mark] if given.mark else []), *given.tests]
    with busy(given.stress):
        failures = sum(not run_once(number + 1, selection) for number in range(given.runs))
    print(f"BENCH alone runs={given.runs} failures={failures} stress={given.stress}")
    return 1 if failures or not given.runs else 0


if __name__ == "__main__":
    sys.exit(main())
