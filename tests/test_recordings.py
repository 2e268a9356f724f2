"""Recordings of whole calls: there while the call goes on, complete however it ends, and never the end of it."""

import asyncio
import errno
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from orchestrator_process import orchestrator
from platform_fixture import Platform, platform, until
from raw_caller import RawCaller, dialled, silence, speech
from websockets.exceptions import ConnectionClosed

from antiphon_bench import measure, place_call
from antiphon_bench.testing.soak import counted


@pytest.fixture(autouse=True)
def short_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", "One.|Two.|Three.")
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "Yes: {last}")


def loudness(path: Path) -> list[int]:
    """The peaks of both sides."""
    samples = sf.read(path, dtype="int16")[0]
    assert samples.shape[1] == 2
    return [int(peak) for peak in np.abs(samples.astype(int)).max(axis=0)] if len(samples) else [0, 0]


async def test_the_servers_recording_has_the_caller_on_the_left_and_the_agent_on_the_right(
    hello: Path, tmp_path: Path
) -> None:
    async with platform(record_dir=tmp_path / "calls") as at:
        call = await place_call(at.url, [hello] * 2)
        path = tmp_path / "calls" / f"{call.session_id}.wav"
        await until(path.exists)
        await until(at.idle)

    assert min(loudness(path)) > 1000
    result = measure(path)
    assert [turn.outcome for turn in result.turns] == ["answered", "answered"]
    said_s = sum(turn.caller_end_s - turn.caller_start_s for turn in result.turns)
    assert said_s == pytest.approx(1.2, abs=0.1)
    # What the caller recorded includes its own playback; a busy machine delays both.
    heard = [turn.heard_v2v_ms for turn in call.turns]
    assert [turn.v2v_ms for turn in result.turns] == [pytest.approx(ms, abs=150) for ms in heard]
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]


@pytest.mark.parametrize("format", counted(full=("wav", "flac", "opus"), reduced=("wav",)))
async def test_a_recording_can_be_played_while_its_call_goes_on(format: str, tmp_path: Path) -> None:
    async with platform(record_dir=tmp_path, record_format=format) as at:
        async with dialled(at.url) as caller:
            await caller.until_session()
            path = tmp_path / f"{caller.session_id}.{format}"
            assert (await caller.turn())["outcome"] == "answered"
            await until(lambda: path.exists() and min(loudness(path)) > 1000)
        await until(at.idle)
        assert min(loudness(path)) > 1000 and os.listdir(tmp_path) == [path.name]  # noqa: PTH208


@asynccontextmanager
async def answered(at: Platform) -> AsyncIterator[RawCaller]:
    """A call in which something has been said, by both."""
    async with dialled(at.url) as caller:
        await caller.until_session()
        assert (await caller.turn())["outcome"] == "answered"
        yield caller


async def test_a_recording_is_complete_however_the_call_ends(tmp_path: Path) -> None:
    async with platform(record_dir=tmp_path) as at:
        async with answered(at) as one:  # the server hangs up
            await at.sessions.hang_up()
            with suppress(ConnectionClosed):
                await one.until_message("never")
        async with answered(at) as two:  # the call's task is cancelled
            for task in at.sessions._tasks.values():
                if task:
                    task.cancel()
            await until(at.idle)
        paths = [tmp_path / f"{caller.session_id}.wav" for caller in (one, two)]
        assert [min(loudness(path)) > 1000 for path in paths] == [True, True]
        for path in paths:  # nothing is behind the samples that the header counts
            assert path.stat().st_size == 80 + 4 * sf.info(path).frames


class FullDisk:
    """`os.pwrite` as on a disk that is full while `full`."""

    def __init__(self) -> None:
        self.full = False
        self._write = os.pwrite

    def __call__(self, fd: int, data: Any, offset: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data, offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    disk = FullDisk()
    monkeypatch.setattr(os, "pwrite", disk)
    yield disk


async def test_a_full_disk_is_a_message_and_a_metric_and_no_lost_call(disk: FullDisk, tmp_path: Path) -> None:
    async with platform(record_dir=tmp_path) as at:
        async with answered(at) as caller:
            disk.full = True
            sending = asyncio.create_task(_keep_silent(caller))
            told = await caller.until_message("antiphon.error")
            sending.cancel()
            assert told["reason"] == "recording_failed" and "no space left" in told["message"]
            assert str(tmp_path) not in told["message"]
            assert (await caller.turn())["outcome"] == "answered"
            async with answered(at):  # it cannot be recorded either
                pass
        await until(at.idle)
        assert at.sample("antiphon_recording_errors_total", reason="full") == 2
        assert sf.info(tmp_path / f"{caller.session_id}.wav").frames > 0
        disk.full = False
        async with answered(at) as later:
            pass
        await until(at.idle)
        assert min(loudness(tmp_path / f"{later.session_id}.wav")) > 1000
        assert at.sample("antiphon_recording_errors_total", reason="full") == 2


async def _keep_silent(caller: RawCaller) -> None:
    while True:
        await caller.say(silence(0.02))
        await asyncio.sleep(0.02)


async def test_a_folder_that_is_gone_is_made_again_for_the_next_call(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    async with platform(record_dir=folder) as at:
        for _ in range(2):
            async with answered(at) as caller:
                pass
            await until(at.idle)
            (folder / f"{caller.session_id}.wav").unlink()
            folder.rmdir()
    assert at.sample("antiphon_recording_errors_total", reason="io") == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_that_cannot_be_written_is_refused_at_start(workers: str, tmp_path: Path) -> None:
    (tmp_path / "calls").write_text("not a folder")
    settings = {"RECORD_DIR": str(tmp_path / "calls"), "WORKERS": workers, "BIND": "127.0.0.1:0"}
    started = subprocess.run(
        [sys.executable, "-m", "antiphon_orchestrator"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **{f"ANTIPHON_ORCHESTRATOR_{name}": value for name, value in settings.items()}},
    )
    assert started.returncode == 2 and "Traceback" not in started.stderr
    assert f"record_dir {tmp_path / 'calls'} cannot be written" in started.stderr


async def test_a_killed_orchestrator_leaves_what_was_said(tmp_path: Path) -> None:
    """SIGKILL in mid-call; the last two seconds and a half may be lost."""
    async with orchestrator(record_dir=tmp_path / "calls") as front, dialled(front.url) as caller:
        await caller.until_session()
        sending = asyncio.create_task(_speak_and_be_silent(caller))
        await asyncio.sleep(6)
        sending.cancel()
        front.process.kill()
        await front.process.wait()
    path = tmp_path / "calls" / f"{caller.session_id}.wav"
    assert sf.info(path).duration > 6 - 5 and loudness(path)[0] > 1000


async def _speak_and_be_silent(caller: RawCaller) -> None:
    pcm = speech(0.4) + silence(1.6)
    for at in range(0, 10 * len(pcm), 640):
        await caller.say(pcm[at % len(pcm) :][:640])
        await asyncio.sleep(0.02)
