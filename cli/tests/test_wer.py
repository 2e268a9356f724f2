"""`antiphon wer` as a person types it, and the line that it ends with."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench.asr.stream import Answer, Pace, StreamConfig
from antiphon_bench.asr.wer import Errors, Row, WerResult
from antiphon_cli.wer import headline

SAID = "Tell me a short story, please."


def wer(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return subprocess.run(
        [sys.executable, "-m", "antiphon_cli", "wer", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**env, "COLUMNS": "80", **environment},
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        sf.write(tmp_path / f"{name}.wav", np.full(4_000, 0.1), 8_000)
        (tmp_path / f"{name}.txt").write_text(SAID)
    return tmp_path


def figures(stdout: str) -> dict[str, str]:
    """The key=value pairs of the last line."""
    *_, last = stdout.splitlines()
    assert last.startswith("BENCH wer ")
    return dict(pair.split("=") for pair in last.split()[2:])


def result(backend: str, *rows: Row) -> WerResult:
    return WerResult(backend, StreamConfig("en-US", backend), Pace.REAL, 1, 2.0, rows)


def row(words: int, errors: Errors, ms: float | None, load: float) -> Row:
    answer = None if ms is None else Answer("", ms, ms + 1, 0.0, 0.0, 0.0, 0)
    return Row("a.wav", 1.0, "said", words, errors, answer, "" if answer else "full", load)


def test_a_backend_that_hears_everything_is_started_measured_and_stopped(folder: Path) -> None:
    done = wer(
        *(str(folder), "--backend", "stub", "--output", str(folder / "out")),
        ANTIPHON_ASR_STUB__SCRIPT=SAID,
        ANTIPHON_ASR_BACKEND="moonshine",
    )
    assert done.returncode == 0, done.stderr
    found = figures(done.stdout)
    assert (found["backend"], found["pace"], found["files"], found["words"]) == ("stub", "real", "2", "12")
    assert (found["wer_pct"], found["failed"]) == ("0.0", "0")
    assert float(found["final_p50_ms"]) <= float(found["final_p95_ms"])
    assert "load" in found
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    assert "stub ready after" in done.stderr

    saved = json.loads((folder / "out" / "wer.json").read_text())
    assert saved["machine"]
    assert [one["file"] for one in saved["results"][0]["rows"]] == ["a.wav", "b.wav"]
    assert saved["results"][0]["final"]["count"] == 2


def test_a_file_without_an_answer_makes_the_command_fail_after_the_bench_line(folder: Path) -> None:
    done = wer(
        *(str(folder), "--backend", "stub", "--at-once", "2", "--output", str(folder / "out")),
        ANTIPHON_ASR_STUB__SCRIPT=SAID,
        ANTIPHON_ASR_SLOTS="1",
    )
    assert done.returncode == 1
    found = figures(done.stdout)
    assert (found["failed"], found["wer_pct"], found["final_p95_ms"]) == ("1", "50.0", "None")
    assert "RESOURCE_EXHAUSTED" in done.stderr


def test_several_backends_each_have_keys_of_their_own(folder: Path) -> None:
    twin = "antiphon_asr.backends.stub:StubRecognizer"
    done = wer(
        *(str(folder), "--backend", "stub", "--backend", twin, "--pace", "fast", "--output", str(folder / "out")),
        ANTIPHON_ASR_STUB__SCRIPT="Tell me a tall story",
    )
    assert done.returncode == 0, done.stderr
    found = figures(done.stdout)
    assert found["stub_wer_pct"] == found[f"{twin}_wer_pct"] == "33.33"
    assert "backend" not in found


def test_a_configuration_that_the_backend_refuses_is_one_clear_line(folder: Path) -> None:
    done = wer(str(folder), "--backend", "stub", "--context-ms", "80")
    assert done.returncode == 2
    assert "unknown context_ms 80" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_a_backend_that_is_none_is_one_clear_line(folder: Path) -> None:
    done = wer(str(folder), "--backend", "abacus")
    assert done.returncode == 2
    assert "abacus" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_target_where_nobody_listens_is_one_clear_line(folder: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{held.getsockname()[1]}"
        done = wer(str(folder), "--target", target)
    assert done.returncode == 2
    assert target in done.stderr
    assert "Traceback" not in done.stderr


def test_a_target_and_a_backend_together_are_refused(folder: Path) -> None:
    done = wer(str(folder), "--target", "127.0.0.1:1", "--backend", "stub")
    assert done.returncode == 2
    assert "give one" in done.stderr.replace("\n", " ")


def test_a_folder_that_is_no_set_is_one_clear_line(tmp_path: Path) -> None:
    done = wer(str(tmp_path), "--backend", "stub")
    assert done.returncode == 2
    assert "no WAV file here" in done.stderr.replace("\n", " ")


def test_failures_show_in_the_bench_line_and_never_make_it_better() -> None:
    rows = (row(5, Errors(0, 0, 0), 20.04, 0.5), row(5, Errors(0, 5, 0), None, 1.5))
    assert headline([result("moonshine", *rows)]) == (
        "BENCH wer backend=moonshine pace=real files=2 words=10 wer_pct=50.0 final_p50_ms=20.0 final_p95_ms=None "
        "speech_end_p50_ms=21.0 failed=1 load=1.0"
    )
