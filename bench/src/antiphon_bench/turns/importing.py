"""Public end-of-turn sets from a local folder: whole turns of callers, each with its true end.

Two layouts are understood. LiveKit's eot-bench (https://github.com/livekit/eot-bench, "Required dataset fields"):
Parquet with `id`, `language`, `audio` and `silence_spans`, the last of which begins where the caller has finished.
Pipecat's Smart Turn sets (https://github.com/pipecat-ai/smart-turn): Parquet with `id`, `audio` and `endpoint_bool`,
or folders whose names begin with "complete" and "incomplete". A turn that is not complete has no true end: it is left
out.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from ..errors import BenchError
from ..speech import find_speech
from ..wav import CALL_RATE_HZ, Samples, resampled, to_pcm
from .utterances import TAIL_S, Utterance

SOUNDS = (".wav", ".flac", ".ogg")
AUDIO, SPANS, COMPLETE = "audio", "silence_spans", "endpoint_bool"


class ImportProblem(BenchError):
    """A folder or a file that holds no end-of-turn set that is understood."""


def imported(folder: Path, most: int, language: str = "") -> list[Utterance]:
    """At most `most` turns, evenly taken; with `language`, such as "en", those of rows that say so.

    Raises ImportProblem, which names the file, what is wrong and what is understood.
    """
    if not folder.is_dir():
        raise ImportProblem(f"{folder} is not a folder")
    tables = sorted(folder.rglob("*.parquet"))
    sounds = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    found = list(_from_tables(tables, language) if tables else _from_files(folder, sounds))
    if not found:
        raise ImportProblem(
            f"{folder} has no complete turn: it must hold .parquet files, or {', '.join(SOUNDS)} in "
            'folders named "complete…"'
        )
    every = max(1, len(found) // most)
    return found[::every][:most]


def _from_files(folder: Path, sounds: Sequence[Path]) -> Iterator[Utterance]:
    for path in sounds:
        if any(part.startswith("complete") for part in path.relative_to(folder).parts[:-1]):
            samples = _decoded(path, path.name)
            yield _utterance(path.stem, samples, _last_speech(samples))


def _from_tables(tables: Sequence[Path], language: str) -> Iterator[Utterance]:
    for path in tables:
        for number, row in enumerate(_rows(path)):
            name = f"{path.name} row {number}"
            if language and str(row.get("language", language)).partition("-")[0] != language:
                continue
            samples = _decoded(_sound(row[AUDIO], path, name), name)
            if SPANS in row:
                yield _utterance(str(row.get("id", name)), samples, _last_span(row[SPANS], name))
            elif row[COMPLETE]:
                yield _utterance(str(row.get("id", name)), samples, _last_speech(samples))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ImportProblem(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    try:
        table = parquet.ParquetFile(path)
        columns = set(table.schema_arrow.names)
        if AUDIO not in columns or not columns & {SPANS, COMPLETE}:
            there = ", ".join(sorted(columns))
            raise ImportProblem(f"{path} has the columns {there}: understood are {AUDIO} with {SPANS} or {COMPLETE}")
        for batch in table.iter_batches(batch_size=16):
            yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise ImportProblem(f"{path} is not Parquet: {error}") from error


def _sound(value: Any, table: Path, name: str) -> Path | io.BytesIO:
    """Hugging Face's Audio feature: the file's bytes, or its path beside the table."""
    if isinstance(value, dict) and value.get("bytes"):
        return io.BytesIO(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return table.parent / str(value["path"])
    raise ImportProblem(f"{name}: {AUDIO} has neither bytes nor a path")


def _decoded(source: Path | io.BytesIO, name: str) -> Samples:
    try:
        samples, rate_hz = sf.read(source, dtype="float32", always_2d=True)
    except (OSError, sf.LibsndfileError) as error:
        raise ImportProblem(f"{name} cannot be read as audio: {error}") from error
    return resampled(samples.mean(axis=1), rate_hz, CALL_RATE_HZ)


def _last_span(spans: Any, name: str) -> int:
    try:
        return round(float(spans[-1]["start"]) * CALL_RATE_HZ)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ImportProblem(f"{name}: {SPANS} must be a list of spans with start and end in seconds") from error


def _last_speech(samples: Samples) -> int:
    segments = find_speech(samples, CALL_RATE_HZ).segments
    return segments[-1].end if segments else len(samples)


def _utterance(name: str, samples: Samples, end: int) -> Utterance:
    tail = max(0, end + round(TAIL_S * CALL_RATE_HZ) - len(samples))
    return Utterance(name, "scored", "", to_pcm(np.concatenate([samples, np.zeros(tail, np.float32)])), end)
