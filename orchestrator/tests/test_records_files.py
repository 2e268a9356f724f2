"""Files of recordings can be played at any moment, and are private."""

import errno
import os
import stat
import wave
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf
from recording_files import FORMATS, decoded_s, names, stereo

from antiphon_orchestrator.records.folder import check_folder, create_file
from antiphon_orchestrator.records.formats import FRAME_BYTES, RawFile, WavFile
from antiphon_orchestrator.records.tracks import RATE_HZ
from antiphon_runtime.errors import ConfigError


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the process's umask for the test."""
    before = os.umask(0o022)
    yield lambda mask: os.umask(mask) and None
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


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
