"""Recordings: files that can be played at any moment, errors that end a recording and no call."""

import asyncio
import errno
import logging
import os
import stat
import threading
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from own_bot import bot
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
    TTSAudioRawFrame,
)

from antiphon_orchestrator.records import recording as recording_module
from antiphon_orchestrator.records.folder import check_folder, create_file
from antiphon_orchestrator.records.formats import FRAME_BYTES, RawFile, WavFile
from antiphon_orchestrator.records.options import RecordingOptions
from antiphon_orchestrator.records.recorder import CallRecorder
from antiphon_orchestrator.records.recording import MOST_PENDING_BYTES, Recording
from antiphon_orchestrator.records.stereo import LEAD_IN_S, Chunk, StereoRecording
from antiphon_orchestrator.records.tracks import RATE_HZ
from antiphon_runtime.errors import ConfigError

FORMATS: tuple[Literal["wav", "flac", "opus"], ...] = ("wav", "flac", "opus")


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def stereo(seconds: float) -> NDArray[np.int16]:
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sides = [5000 * np.sin(2 * np.pi * pitch * at) for pitch in (400, 700)]
    return np.stack(sides, axis=1).astype(np.int16)


def decoded_s(path: Path) -> float:
    """The length that FFmpeg and libsndfile find, reading to the end; they must agree."""
    samples, rate_hz = sf.read(path, dtype="int16")
    assert rate_hz == RATE_HZ and samples.shape[1] == 2
    with av.open(str(path)) as container:
        found_s = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert found_s == pytest.approx(len(samples) / RATE_HZ, abs=0.1)
    return len(samples) / RATE_HZ


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the process's umask for the test."""
    before = os.umask(0o022)
    yield lambda mask: os.umask(mask) and None
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# Files


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_can_be_played_after_every_write(format: Any, tmp_path: Path) -> None:
    path, file = create_file(tmp_path, "call", format)
    sound = stereo(3)
    for at in range(0, len(sound), RATE_HZ // 4):
        file.write(sound[at : at + RATE_HZ // 4])
        written_s = at / RATE_HZ + 0.25
        assert written_s - 0.4 <= decoded_s(path) <= written_s
    file.close()
    assert decoded_s(path) == pytest.approx(3, abs=0.001)
    if format != "opus":
        assert np.array_equal(sf.read(path, dtype="int16")[0], sound)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_lost_its_end_can_be_played_as_far_as_it_goes(format: Any, tmp_path: Path) -> None:
    path, file = create_file(tmp_path, "call", format)
    for _ in range(10):
        file.write(stereo(0.5))
    whole = path.read_bytes()
    file.close()
    for cut in (1, 100, 3001):
        path.write_bytes(whole[:-cut])
        played_s = 0.0
        with av.open(str(path)) as container, suppress(av.InvalidDataError):  # a player stops there
            for frame in container.decode(audio=0):
                played_s += frame.samples / frame.sample_rate
        assert played_s > 4


def test_a_wav_is_read_by_the_standard_library(tmp_path: Path) -> None:
    path, file = create_file(tmp_path, "call", "wav")
    file.write(stereo(1.5))
    with wave.open(str(path)) as read:
        assert (read.getnchannels(), read.getframerate(), read.getsampwidth()) == (2, RATE_HZ, 2)
        assert read.readframes(read.getnframes()) == stereo(1.5).tobytes()
    file.close()


def test_a_wav_beyond_4_gib_becomes_an_rf64_with_all_of_it(tmp_path: Path) -> None:
    limit = 100_000
    path = tmp_path / "long.wav"
    file = WavFile(RawFile(path), limit=limit)
    kinds = []
    for _ in range(4):
        file.write(stereo(0.5))
        kinds.append(path.read_bytes()[:4])
    file.close()
    assert kinds == [b"RIFF", b"RIFF", b"RF64", b"RF64"]
    assert decoded_s(path) == 2 and np.array_equal(sf.read(path, dtype="int16")[0][-100:], stereo(0.5)[-100:])


def test_the_real_limit_is_passed_without_losing_the_beginning(tmp_path: Path) -> None:
    """With a hole in the file instead of 12 hours of sound."""
    path = tmp_path / "long.wav"
    raw = RawFile(path)
    file = WavFile(raw)
    file.write(stereo(1))
    hole = 2**32 // FRAME_BYTES * FRAME_BYTES
    raw.size += hole
    file.write(stereo(1))
    file.close()
    with sf.SoundFile(path) as read:
        assert read.frames == 2 * RATE_HZ + hole // FRAME_BYTES
        assert np.array_equal(read.read(RATE_HZ, dtype="int16"), stereo(1))
        read.seek(read.frames - RATE_HZ)
        assert np.array_equal(read.read(RATE_HZ, dtype="int16"), stereo(1))


# The folder


def test_folder_and_files_are_private_whatever_the_umask(tmp_path: Path, umask: Callable[[int], None]) -> None:
    for mask in (0o000, 0o022, 0o777):
        folder = tmp_path / f"{mask:o}" / "calls"
        folder.parent.mkdir()
        umask(mask)
        check_folder(folder)
        path, file = create_file(folder, "call", "wav")
        file.close()
        umask(0o022)
        assert (mode(folder), mode(path)) == (0o700, 0o600)
        assert names(folder) == ["call.wav"]


def test_a_folder_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir(mode=0o755)
    check_folder(folder)
    assert mode(folder) == 0o700


def test_a_folder_of_all_users_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(ConfigError, match=r"record_dir .*/shared cannot be written \(it is shared by all users\)"):
        check_folder(folder)
    assert mode(folder) == 0o1777


@pytest.mark.parametrize(("mode_of_it", "is_taken"), [(0o777, False), (0o2777, False), (0o2775, True), (0o770, True)])
def test_a_folder_of_another_user_is_taken_as_it_is_unless_all_users_may_write_to_it(
    mode_of_it: int, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    folder.chmod(mode_of_it)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    if is_taken:
        check_folder(folder)
    else:
        with pytest.raises(ConfigError, match="it is shared by all users"):
            check_folder(folder)
    assert mode(folder) == mode_of_it and names(folder) == []


def test_a_folder_that_cannot_be_written_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "calls", Path("/proc/calls")):
        with pytest.raises(ConfigError, match=f"record_dir {folder} cannot be written"):
            check_folder(folder)


def test_a_folder_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        check_folder(tmp_path / "calls")
    assert names(tmp_path / "calls") == []


def test_names_never_collide(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        path, file = create_file(tmp_path, "call", "wav")
        file.write(stereo(0.1))
        file.close()
        paths.append(path.name)
    assert paths == ["call.wav", "call-2.wav", "call-3.wav"]


# A recording


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


# In a pipeline


class Kept:
    """A recording that only notes what it is given."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self.seen: list[Any] = []

    def add_caller(self, pcm: bytes, rate_hz: int, channels: int) -> None:
        self.seen.append(("caller", len(pcm), rate_hz, channels))

    def add_agent(self, pcm: bytes, rate_hz: int, channels: int) -> None:
        self.seen.append(("agent", len(pcm), rate_hz, channels))

    def interrupt_agent(self) -> None:
        self.seen.append("interrupted")


async def through(kept: Kept, *frames: Frame, then: Callable[[Any], Awaitable[None]]) -> Any:
    async with bot(CallRecorder(kept)) as at:  # type: ignore[arg-type]
        await at.send(*frames)
        await then(at)
        return at


async def test_the_processor_records_both_sides_and_passes_everything_on() -> None:
    kept = Kept()
    frames = [
        InputAudioRawFrame(bytes(640), 16_000, 1),
        TTSAudioRawFrame(bytes(960), 24_000, 1),
        OutputAudioRawFrame(bytes(480), 24_000, 1),
    ]

    async def all_passed(at: Any) -> None:
        await at.down.until(OutputAudioRawFrame, 2)
        await at.send(InterruptionFrame())
        await at.down.until(InterruptionFrame)

    at = await through(kept, *frames, then=all_passed)
    assert sorted(kept.seen[:-1]) == [("agent", 480, 24_000, 1), ("agent", 960, 24_000, 1), ("caller", 640, 16_000, 1)]
    assert kept.seen[-1] == "interrupted" and len(at.down.of(InputAudioRawFrame)) == 1


async def test_the_caller_is_told_once_that_the_recording_failed() -> None:
    kept = Kept()
    kept.failure = "full"

    async def told(at: Any) -> None:
        await at.up.until(OutputTransportMessageUrgentFrame)
        await at.send(*[InputAudioRawFrame(bytes(640), 16_000, 1)] * 3)
        await at.down.until(InputAudioRawFrame, 6)

    at = await through(kept, *[InputAudioRawFrame(bytes(640), 16_000, 1)] * 3, then=told)
    assert [frame.message for frame in at.up.of(OutputTransportMessageUrgentFrame)] == [
        {
            "type": "antiphon.error",
            "reason": "recording_failed",
            "message": "this call is no longer recorded: there is no space left",
        }
    ]
