"""The folder of the recordings: private to this user, and known to be writable before the first call."""

import logging
import os
import stat
import uuid
from pathlib import Path

from antiphon_runtime.errors import ConfigError

from .formats import AudioFile, FlacFile, OpusFile, RawFile, WavFile
from .options import Format

log = logging.getLogger(__name__)

FILES: dict[Format, type[WavFile] | type[FlacFile] | type[OpusFile]] = {
    "wav": WavFile,
    "flac": FlacFile,
    "opus": OpusFile,
}
# Of the files of one call; there are several only if its id was used before.
MOST_OF_A_NAME = 1000


def check_folder(folder: Path) -> None:
    """Make the folder and write to it. Raises ConfigError when that is not possible."""
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        _make_private(folder)
        try:
            RawFile(probe).write_and_close(bytes(4096))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"record_dir {folder} cannot be written ({error.strerror or error}): "
            "name a folder in which this user may create files, or leave record_dir empty"
        ) from error


def create_file(folder: Path, name: str, format: Format) -> tuple[Path, AudioFile]:
    """A new file of mode 0600; a number is added to a name that is taken. Raises OSError."""
    _make_private(folder)
    for number in range(1, MOST_OF_A_NAME):
        path = folder / (f"{name}.{format}" if number == 1 else f"{name}-{number}.{format}")
        try:
            raw = RawFile(path)
        except FileExistsError:
            continue
        try:
            return path, FILES[format](raw)
        except BaseException:
            raw.close()
            path.unlink(missing_ok=True)
            raise
    raise FileExistsError(f"{MOST_OF_A_NAME - 1} recordings are named {name}")


def _make_private(folder: Path) -> None:
    """Make the folder, of mode 0700; one that exists is given this mode if it is ours.

    Raises OSError for a folder that all users may write to, unless it is ours and without the sticky bit. A folder of
    another user that a group may write to, as Kubernetes mounts a volume with an fsGroup, is taken as it is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(None, "it is not a folder", str(folder)) from None
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode == 0o700:
        return
    ours = found.st_uid == os.geteuid()
    if mode & stat.S_IWOTH and (mode & stat.S_ISVTX or not ours):
        raise PermissionError(None, "it is shared by all users", str(folder))
    if ours:
        folder.chmod(0o700)
        log.info("the folder of recordings %s had the mode %o and has 700 now", folder, mode)
