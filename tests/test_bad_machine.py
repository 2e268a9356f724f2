"""A machine that is not as it must be: every command says what is wrong, in which place, and what to do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon_asr.weights import WEIGHTS


def command(module: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_weights_that_are_not_what_was_pinned_are_named_with_what_to_do(tmp_path: Path) -> None:
    wrong = tmp_path / WEIGHTS[0].files[0].path
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"not the weights")

    fetched = command("antiphon_cli", "models", "fetch", "--models-dir", str(tmp_path))
    started = command(
        "antiphon_asr",
        ANTIPHON_ASR_BACKEND="moonshine",
        ANTIPHON_ASR_BIND="127.0.0.1:0",
        ANTIPHON_ASR_MOONSHINE__MODELS_DIR=str(tmp_path),
    )
    for done in (fetched, started):
        said = " ".join(done.stderr.split())
        assert done.returncode == 2, said
        assert str(wrong) in said
        assert "delete it and run: antiphon models fetch" in said
        assert "Traceback" not in said


def test_a_service_without_its_weights_says_how_to_get_them(tmp_path: Path) -> None:
    started = command(
        "antiphon_asr",
        ANTIPHON_ASR_BACKEND="moonshine",
        ANTIPHON_ASR_BIND="127.0.0.1:0",
        ANTIPHON_ASR_MOONSHINE__MODELS_DIR=str(tmp_path),
    )
    assert started.returncode == 2
    assert "antiphon models fetch" in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.parametrize("name", ["asr", "orchestrator"])
def test_up_says_which_port_is_in_use_and_starts_nothing(name: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        address = f"127.0.0.1:{held.getsockname()[1]}"
        done = command("antiphon_cli", "up", "--models", "stub", **{f"ANTIPHON_{name.upper()}_BIND": address})
    assert done.returncode == 2
    assert f"{address} ({name})" in " ".join(done.stderr.split())
    assert "ready" not in done.stdout
