"""What telemetry costs: the orchestrator's CPU with all of it, and without, in turns; `make bench-telemetry`."""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from antiphon_bench.machine import load_average, machine
from antiphon_bench.scrape import scrape
from antiphon_bench.testing.collector import collecting

from .conversation.capacity import cpu_s
from .conversation.crowd import crowd
from .conversation.sides import ON, QUESTION, bench
from .platform import Process, free_ports
from .supervisor import supervised

WITH, WITHOUT = "with", "without"
# As deploy/prometheus/prometheus.yml does.
SCRAPE_EVERY_S = 5.0
TURNS = 5


def sides(front: Process, otlp_url: str, metrics_port: int) -> tuple[Process, Process]:
    """The orchestrator twice: with metrics, traces and logs, and with none of them."""
    port = free_ports()["orchestrator"]
    other = f"127.0.0.1:{port}"
    same = {"PYTHONHASHSEED": "0"}
    everything = {
        **same,
        "ANTIPHON_ORCHESTRATOR_METRICS_BIND": f"127.0.0.1:{metrics_port}",
        "ANTIPHON_ORCHESTRATOR_OTLP_URL": otlp_url,
        "ANTIPHON_ORCHESTRATOR_LOG_FORMAT": "json",
    }
    nothing = {
        **same,
        "ANTIPHON_ORCHESTRATOR_BIND": other,
        "ANTIPHON_ORCHESTRATOR_LOG_LEVEL": "ERROR",
        "OTEL_SDK_DISABLED": "true",
    }
    return (
        replace(front, name=WITH, env={**front.env, **everything}),
        replace(front, name=WITHOUT, bind=other, env={**front.env, **nothing}),
    )


@asynccontextmanager
async def scraped(address: str) -> AsyncIterator[None]:
    """Prometheus's part."""

    async def keep() -> None:
        while True:
            await scrape(address)
            await asyncio.sleep(SCRAPE_EVERY_S)

    scraping = asyncio.create_task(keep(), name="scrape")
    try:
        yield
    finally:
        scraping.cancel()
        await asyncio.gather(scraping, return_exceptions=True)


async def measured(callers: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each side and round: CPU seconds of the process for each second of a call.

    Two processes of the same program differ by some percent for as long as they live, so each round has new ones.
    """
    rows: list[dict[str, Any]] = []
    exports: list[bytes] = []
    with TemporaryDirectory(prefix="antiphon-") as folder, collecting(exports.append) as otlp_url:
        at = bench("rtx5090", Path(folder))
        front = next(one for one in at.processes if one.name == ON)
        metrics_port = free_ports()["asr"]
        both = sides(front, otlp_url, metrics_port)
        async with supervised(at.processes[:4], lambda *_: None):
            for number in range(rounds):
                order = both if number % 2 else both[::-1]
                async with supervised(order, lambda *_: None) as pids, scraped(f"127.0.0.1:{metrics_port}"):
                    for one in order:
                        await crowd(f"ws://{one.bind}/ws", QUESTION, callers, 1)
                    for one in order:
                        row = await _side(one, pids[one.name], callers)
                        rows.append({"round": number, **row, "load": load_average()})
        if not exports:
            raise RuntimeError("no span has come: telemetry was not measured")
    return rows


async def _side(one: Process, pid: int, callers: int) -> dict[str, Any]:
    began_s, used_s = time.monotonic(), cpu_s(pid)
    heard = await crowd(f"ws://{one.bind}/ws", QUESTION, callers, TURNS)
    share = (cpu_s(pid) - used_s) / ((time.monotonic() - began_s) * callers)
    answered = sum(ms is not None for ms in heard.v2v_ms)
    return {"side": one.name, "cpu_per_session": share, "answered": answered, "turns": callers * TURNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--publish", type=Path, help="also write the rows there, for docs")
    options = parser.parse_args()
    rows = asyncio.run(measured(options.callers, options.rounds))
    content = {"bench": "telemetry", "machine": machine(), "callers": options.callers, "rows": rows}
    for folder in filter(None, (options.output, options.publish)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "telemetry.json").write_text(json.dumps(content, indent=1) + "\n")
    print(headline(rows))


def headline(rows: list[dict[str, Any]]) -> str:
    """Ratios are of neighbours in time, and their median counts: the machine is noisy."""
    used = {side: [row["cpu_per_session"] for row in rows if row["side"] == side] for side in (WITH, WITHOUT)}
    ratios = [one / other for one, other in zip(used[WITH], used[WITHOUT], strict=True)]
    figures = {
        "cost_pct": round(100 * (statistics.median(ratios) - 1), 2),
        "worst_pct": round(100 * (max(ratios) - 1), 2),
        "with": round(statistics.median(used[WITH]), 5),
        "without": round(statistics.median(used[WITHOUT]), 5),
        "answered": sum(row["answered"] for row in rows),
        "turns": sum(row["turns"] for row in rows),
        "load": round(os.getloadavg()[0], 2),
    }
    return " ".join(["BENCH telemetry", *(f"{name}={value}" for name, value in figures.items())])


if __name__ == "__main__":
    main()
