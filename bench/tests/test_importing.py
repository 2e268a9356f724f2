"""Public end-of-turn sets, as they come: in folders, and in Parquet where pyarrow is."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench.testing.synth import tone
from antiphon_bench.turns import importing
from antiphon_bench.turns.importing import ImportProblem, imported
from antiphon_bench.turns.utterances import TAIL_S
from antiphon_bench.wav import CALL_RATE_HZ


def sound(rate_hz: int = CALL_RATE_HZ) -> bytes:
    """Half a second of speech between silences of 0.3 and 0.2 s."""
    samples = np.concatenate([np.zeros(round(0.3 * rate_hz)), tone(0.5, rate_hz), np.zeros(round(0.2 * rate_hz))])
    file = io.BytesIO()
    sf.write(file, samples, rate_hz, format="FLAC")
    return file.getvalue()


def test_folders_tell_which_turns_are_complete(tmp_path: Path) -> None:
    for folder, name in (("eng/complete-nofiller", "a"), ("eng/incomplete-endfiller", "b"), ("deu/complete", "c")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{name}.flac").write_bytes(sound(24_000))
    found = imported(tmp_path, 10)
    assert sorted(each.name for each in found) == ["a", "c"]
    for each in found:
        assert each.part == "scored" and each.end == pytest.approx(0.8 * CALL_RATE_HZ, abs=160)
        assert len(each.pcm) >= each.end + round(TAIL_S * CALL_RATE_HZ)
    assert len(imported(tmp_path, 1)) == 1


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a table of these rows."""

    def made(*rows: dict[str, Any]) -> Path:
        (tmp_path / "validation.parquet").touch()
        monkeypatch.setattr(importing, "_rows", lambda _: iter(rows))
        return tmp_path

    return made


def test_eot_benchs_turns_end_where_their_last_silence_begins(table: Any) -> None:
    spans = [{"start": 0.4, "end": 0.5}, {"start": 0.75, "end": 1.0}]
    row = {"id": "x", "language": "en", "audio": {"bytes": sound()}, "silence_spans": spans}
    (found,) = imported(table(row, {**row, "language": "de-DE"}), 10, "en")
    assert (found.name, found.end) == ("x", 12_000)


def test_smart_turns_rows_count_when_they_are_complete(table: Any) -> None:
    row = {"id": "x", "audio": {"bytes": sound()}, "endpoint_bool": True}
    (found,) = imported(table(row, {**row, "endpoint_bool": False}), 10)
    assert found.end == pytest.approx(0.8 * CALL_RATE_HZ, abs=160)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"audio": {"bytes": b"noise"}, "endpoint_bool": True}, "cannot be read as audio"),
        ({"audio": {}, "endpoint_bool": True}, "neither bytes nor a path"),
        ({"audio": {"bytes": sound()}, "silence_spans": []}, "list of spans"),
        ({"audio": {"bytes": sound()}, "endpoint_bool": False}, "no complete turn"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(table: Any, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImportProblem, match=reason):
        imported(table(row), 10)


def test_a_folder_without_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match="no complete turn"):
        imported(tmp_path, 10)
    with pytest.raises(ImportProblem, match="is not a folder"):
        imported(tmp_path / "none", 10)


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = {"id": "x", "language": "en", "audio": {"bytes": sound(), "path": None}, "silence_spans": [{"start": 0.8}]}
    parquet.write_table(pyarrow.Table.from_pylist([row] * 40), tmp_path / "a.parquet")
    assert [each.end for each in imported(tmp_path, 100)] == [12_800] * 40
    parquet.write_table(pyarrow.Table.from_pylist([{"id": "x", "text": "y"}]), tmp_path / "b.parquet")
    with pytest.raises(ImportProblem, match="has the columns id, text: understood are audio"):
        imported(tmp_path, 100)
    (tmp_path / "a.parquet").write_bytes(b"no table")
    with pytest.raises(ImportProblem, match="is not Parquet"):
        imported(tmp_path, 100)
