"""Word error rate and time to final of ASR backends: each started alone, measured and stopped."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon_bench.asr.report import row_line
from antiphon_bench.asr.sets import Spoken, load_set, shipped
from antiphon_bench.asr.stream import Pace, StreamConfig, connected
from antiphon_bench.asr.wer import WerResult, normaliser, transcribe_set
from antiphon_bench.machine import machine

from .platform import Plan, free_ports
from .supervisor import supervised

Note = Callable[[str], None]

# A large model compiles itself before it is ready.
START_S = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is sent to each backend, and how."""

    spoken: Sequence[Spoken]
    config: StreamConfig
    pace: Pace
    at_once: int

    @classmethod
    def of(cls, folder: Path | None, config: StreamConfig, pace: Pace, at_once: int) -> "Job":
        """The set in `folder`, or the one that ships. Raises BenchError when it cannot be used."""
        return cls(load_set(folder or shipped(), normaliser(config.language)), config, pace, at_once)


async def of_backends(job: Job, backends: Sequence[str], models_dir: Path, note: Note) -> list[WerResult]:
    """Starts the service on one backend after the other. Raises Died, ConfigError, or StreamRefused."""
    return [await _of_backend(job, backend, models_dir, note) for backend in backends]


async def of_target(job: Job, target: str, name: str, note: Note) -> WerResult:
    """Measures the service at `target`. Raises ConfigError, or StreamRefused."""
    async with connected([target]) as replicas:
        return await transcribe_set(
            replicas,
            job.spoken,
            job.config,
            backend=name,
            pace=job.pace,
            at_once=job.at_once,
            done=lambda row: note(f"{name} {row_line(row)}"),
        )


async def _of_backend(job: Job, backend: str, models_dir: Path, note: Note) -> WerResult:
    # The plan's own environment wins over the user's: what is measured has to be what was named.
    own = {"ANTIPHON_ASR_BACKEND": backend, "ANTIPHON_ASR_BIND": f"127.0.0.1:{free_ports()['asr']}"}
    plan = Plan(models_dir=models_dir, metrics=False, env=own)
    service = plan.service("asr", backend)
    async with supervised([service], lambda _name, line: _tell_ready(backend, line, note), START_S):
        return await of_target(job, service.bind, backend, note)


def _tell_ready(backend: str, line: str, note: Note) -> None:
    if line.startswith("ready after"):
        note(f"{backend} {line}")


def save(results: Sequence[WerResult], folder: Path) -> None:
    """The raw rows, into wer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"bench": "wer", "machine": machine(), "results": [result.to_json() for result in results]}
    (folder / "wer.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def headline(results: Sequence[WerResult]) -> str:
    """The line that the bench ends with; of several backends each has keys of its own."""
    first = results[0]
    figures: dict[str, Any] = {} if len(results) > 1 else {"backend": first.backend}
    figures |= {"pace": first.pace.value, "files": len(first.rows), "words": first.words}
    for result in results:
        prefix = f"{result.backend}_" if len(results) > 1 else ""
        figures |= {f"{prefix}{key}": value for key, value in _figures(result).items()}
    loads = [row.load_average for result in results for row in result.rows if row.load_average is not None]
    figures["load"] = round(statistics.mean(loads), 2) if loads else None
    return " ".join(["BENCH wer", *(f"{key}={value}" for key, value in figures.items())])


def _figures(result: WerResult) -> dict[str, Any]:
    final, speech_end = result.final, result.speech_end
    times = {"final_p50_ms": final.p50_ms, "final_p95_ms": final.p95_ms, "speech_end_p50_ms": speech_end.p50_ms}
    rounded = {key: value if value is None else round(value, 1) for key, value in times.items()}
    return {"wer_pct": round(result.wer_pct, 2), **rounded, "failed": len(result.failed)}
