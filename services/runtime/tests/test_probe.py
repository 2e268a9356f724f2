"""The commands for containers, as they are started there."""

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.model_file import have
from antiphon_runtime.probe import of_grpc, of_http
from antiphon_runtime.server import LIVENESS
from antiphon_runtime.testing import serving

from .echo import SERVICE, Echo

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def command(module: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"antiphon_runtime.{module}", *args], capture_output=True, text=True, check=False
    )


@pytest.fixture
async def target():
    async with serving(SERVICE, Echo().build) as at:
        yield at.target


@pytest.mark.parametrize("name", ["", SERVICE, LIVENESS])
async def test_a_server_that_serves_is_well(target: str, name: str) -> None:
    assert await asyncio.to_thread(of_grpc, target, name) == ""


async def test_a_name_that_nobody_serves_is_named_as_the_problem(target: str) -> None:
    assert "NOT_FOUND" in await asyncio.to_thread(of_grpc, target, "nobody")


def test_where_nothing_listens_the_problem_says_so() -> None:
    assert "UNAVAILABLE" in of_grpc("127.0.0.1:1", "")
    assert "refused" in of_http("http://127.0.0.1:1/healthz")


def test_the_command_exits_with_1_when_it_does_not_serve_and_2_when_asked_wrongly() -> None:
    assert (silent := command("probe", "127.0.0.1:1")).returncode == 1
    assert "127.0.0.1:1 does not serve: UNAVAILABLE" in silent.stderr
    assert command("probe").returncode == command("probe", "a:1", "b", "c").returncode == 2


def test_a_file_is_downloaded_once_and_verified_afterwards(tmp_path: Path) -> None:
    source, kept = tmp_path / "source", tmp_path / "cache/deep/model.nemo"
    source.write_bytes(CONTENT)
    assert have(kept, SHA256, source.as_uri()) == "downloaded"
    source.unlink()
    assert have(kept, SHA256, source.as_uri()) == have(kept, SHA256) == "verified"


def test_what_does_not_match_its_pin_leaves_nothing_and_replaces_nothing(tmp_path: Path) -> None:
    source, kept = tmp_path / "source", tmp_path / "cache/model.nemo"
    source.write_bytes(b"something else")
    with pytest.raises(ConfigError, match="source does not match its pin"):
        have(kept, SHA256, source.as_uri())
    assert list(kept.parent.iterdir()) == []
    kept.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"model.nemo does not match its pin.*delete it"):
        have(kept, SHA256, source.as_uri())
    assert kept.read_bytes() == b"mine"


def test_the_command_says_what_is_missing_and_where_it_was_sought(tmp_path: Path) -> None:
    alone = command("model_file", str(tmp_path / "m"), SHA256)
    assert (alone.returncode, "no URL was given" in alone.stderr) == (2, True)
    nowhere = command("model_file", str(tmp_path / "m"), SHA256, "http://127.0.0.1:1/m")
    assert nowhere.returncode == 2
    assert "cannot be downloaded from http://127.0.0.1:1/m" in nowhere.stderr
    assert command("model_file").returncode == 2
