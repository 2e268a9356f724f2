"""Recordings: complete at the end of the call, and ended by errors that end no call."""

import asyncio
import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from recording_files import FORMATS, decoded_s, names, stereo

from antiphon_orchestrator.records import recording as recording_module
from antiphon_orchestrator.records.folder import create_file
from antiphon_orchestrator.records.options import RecordingOptions
from antiphon_orchestrator.records.recording import MOST_PENDING_BYTES, Recording
from antiphon_orchestrator.records.stereo import LEAD_IN_S, Chunk, StereoRecording
from antiphon_orchestrator.records.tracks import RATE_HZ


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def options(folder: Path, **others: Any) -> tuple[RecordingOptions, list[str]]:
    errors: list[str] = []
    return RecordingOptions(folder, on_error=errors.append, **others), errors


async def fed(recording: Recording, clock: Clock, seconds: float) -> None:
    """Both sides, in frames of 20 ms."""
    caller, agent = stereo(0.02).T
    for _ in range(round(seconds / 0.02)):
        recording.add_agent(agent.tobytes(), RATE_HZ)
        clock.now_s += 0.02
        recording.add_caller(caller.tobytes(), RATE_HZ)


@pytest.mark.parametrize("format", FORMATS)
async def test_a_recording_has_all_of_the_call_when_it_is_finished(format: Any, tmp_path: Path) -> None:
    clock = Clock()
    chosen, errors = options(tmp_path / "calls", format=format, clock=clock)
    recording = Recording("call", chosen)
    recording.start()
    await fed(recording, clock, 12)
    await recording.finish()
    await recording.finish()
    assert recording.path == tmp_path / "calls" / f"call.{format}" and not errors
    assert decoded_s(recording.path) == pytest.approx(12 + LEAD_IN_S, abs=0.02)
    samples = sf.read(recording.path, dtype="int16")[0][RATE_HZ:].astype(float)
    loudest = [np.argmax(np.abs(np.fft.rfft(side[:RATE_HZ]))) for side in samples.T]
    assert loudest == [pytest.approx(400, abs=1), pytest.approx(700, abs=1)]


def test_resamplers_start_no_threads(tmp_path: Path) -> None:
    before = len(names(Path("/proc/self/task")))
    recording = StereoRecording(create_file(tmp_path, "call", "wav")[1])
    for number in range(200):
        recording.add_caller(Chunk(bytes(640), 16_000, 1, number * 0.02))
        recording.advance(number * 0.02)
    assert len(names(Path("/proc/self/task"))) <= before
    recording.finish(4)


async def test_a_call_that_never_began_has_no_file(tmp_path: Path) -> None:
    recording = Recording("call", options(tmp_path / "calls")[0])
    recording.add_caller(bytes(960), RATE_HZ)
    await recording.finish()
    assert recording.path is None and not (tmp_path / "calls").exists()


class FullDisk:
    """`os.pwrite` on a disk that has no room for more than so many bytes, until there is room again."""

    def __init__(self, room: int, code: int = errno.ENOSPC) -> None:
        self.room = room
        self._code = code
        self._write = os.pwrite

    def __call__(self, fd: int, data: Any, offset: int) -> int:
        if offset + len(data) > self.room:
            raise OSError(self._code, os.strerror(self._code))
        return self._write(fd, data, offset)


@pytest.mark.parametrize("format", FORMATS)
async def test_a_full_disk_ends_one_recording_which_can_be_played(
    format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk({"wav": 300_000, "flac": 100_000, "opus": 20_000}[format])
    monkeypatch.setattr(os, "pwrite", disk)
    clock = Clock()
    chosen, errors = options(tmp_path, format=format, clock=clock)
    recording = Recording("call", chosen)
    recording.start()
    with caplog.at_level(logging.ERROR):
        await fed(recording, clock, 15)
        await recording.finish()
    assert errors == ["full"] and recording.failure == "full"
    assert "session call: its recording ends early (full)" in caplog.text
    assert decoded_s(tmp_path / f"call.{format}") > 1
    recording.add_caller(bytes(960), RATE_HZ)

    disk.room = 2**40
    after = Recording("next", chosen)
    after.start()
    await fed(after, clock, 3)
    await after.finish()
    assert errors == ["full"] and decoded_s(tmp_path / f"next.{format}") == pytest.approx(3 + LEAD_IN_S, abs=0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_file_system_that_is_really_full(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = await asyncio.create_subprocess_exec(
        "mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", str(folder)
    )
    if await mounted.wait():
        pytest.skip("may not mount")
    try:
        clock = Clock()
        chosen, errors = options(folder, clock=clock)
        first, second = Recording("first", chosen), Recording("second", chosen)
        first.start()
        await fed(first, clock, 10)
        await first.finish()
        assert errors == ["full"] and decoded_s(folder / "first.wav") > 2
        second.start()
        await fed(second, clock, 10)
        await second.finish()
        assert errors == ["full", "full"]
        (folder / "first.wav").unlink()
        third = Recording("third", chosen)
        third.start()
        await fed(third, clock, 1)
        await third.finish()
        assert errors == ["full", "full"] and decoded_s(folder / "third.wav") == pytest.approx(1 + LEAD_IN_S)
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(folder))).wait()


@pytest.mark.parametrize(
    "code, reason", [(errno.EDQUOT, "full"), (errno.EROFS, "denied"), (errno.EIO, "io"), (errno.ESTALE, "io")]
)
async def test_each_error_has_its_reason(
    code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", FullDisk(0, code))
    chosen, errors = options(tmp_path)
    recording = Recording("call", chosen)
    recording.start()
    await recording.finish()
    assert errors == [reason] and names(tmp_path) == []


async def test_an_error_of_ours_ends_the_recording_alone(tmp_path: Path) -> None:
    chosen, errors = options(tmp_path)
    recording = Recording("call", chosen)
    recording.start()
    recording.add_caller(bytes(960), rate_hz=-1)
    await recording.finish()
    assert errors == ["internal"] and decoded_s(tmp_path / "call.wav") >= LEAD_IN_S


async def test_a_disk_that_does_not_answer_takes_no_memory_and_keeps_no_call_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, write = threading.Event(), os.pwrite

    def slow(fd: int, data: Any, offset: int) -> int:
        answers.wait(30)
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    clock = Clock()
    chosen, errors = options(tmp_path, clock=clock)
    recording = Recording("call", chosen)
    recording.start()
    await fed(recording, clock, 80)
    assert errors == ["behind"] and recording.pending_bytes <= MOST_PENDING_BYTES + 64
    await recording.finish(within_s=0.05)
    assert errors == ["behind", "unfinished"]
    # When it answers again, the file is completed, and what was left out is silence in its place.
    answers.set()
    await recording.finish(within_s=20)
    assert errors == ["behind", "unfinished"]
    assert decoded_s(tmp_path / "call.wav") == pytest.approx(80 + LEAD_IN_S, abs=0.02)
    samples = sf.read(tmp_path / "call.wav", dtype="int16")[0]
    assert samples[10 * RATE_HZ : 20 * RATE_HZ].any() and not samples[-10 * RATE_HZ :].any()


async def test_without_a_thread_there_is_no_recording_and_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(recording_module, "Thread", NoThread)
    chosen, errors = options(tmp_path)
    recording = Recording("call", chosen)
    recording.start()
    recording.add_caller(bytes(960), RATE_HZ)
    await recording.finish()
    assert errors == ["internal"]
