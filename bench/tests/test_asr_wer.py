"""Word error rates: of texts, of sets of files, and of services that fail."""

import importlib.util
import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from rich.console import Console

from antiphon.asr.v1 import asr_pb2
from antiphon_asr.service import SERVICE, build
from antiphon_asr.settings import read
from antiphon_asr.weights import WEIGHTS
from antiphon_bench.asr.report import print_wer, row_line
from antiphon_bench.asr.sets import Spoken, load_set, shipped
from antiphon_bench.asr.stream import Answer, Pace, StreamConfig, connected
from antiphon_bench.asr.wer import Errors, Row, WerResult, errors_between, normaliser, transcribe_set
from antiphon_bench.errors import MissingText, NotWav, NoUtterances, NoWords, StreamRefused
from antiphon_runtime.client import Replicas
from antiphon_runtime.testing import serving
from antiphon_runtime.weights import DEFAULT_DIR, missing

ENGLISH = normaliser("en-US")
FAST = {"backend": "stub", "pace": Pace.FAST}
LOUD = (1000).to_bytes(2, "little") * 3200


def spoken(*texts: str) -> list[Spoken]:
    return [Spoken(f"{number}.wav", text, LOUD) for number, text in enumerate(texts)]


def answered(ms: float) -> Answer:
    return Answer("", ms, ms + 1, 0.0, 0.0, 0.0, 0)


def a_row(words: int, errors: Errors, answer: Answer | None, error: str = "") -> Row:
    return Row("a.wav", 1.0, "said", words, errors, answer, error, 0.5)


def a_result(*rows: Row) -> WerResult:
    return WerResult("stub", StreamConfig("en-US", "stub"), Pace.REAL, 1, 2.0, rows)


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("a b c", "a b c", Errors(0, 0, 0)),
        ("a b c", "a x c", Errors(1, 0, 0)),
        ("a b c", "a c", Errors(0, 1, 0)),
        ("a b c", "a b c d", Errors(0, 0, 1)),
        ("a b c", "", Errors(0, 3, 0)),
        ("a b c", "x b c d", Errors(1, 0, 1)),
    ],
)
def test_the_fewest_edits_are_counted(said: str, heard: str, errors: Errors) -> None:
    assert errors_between(said.split(), heard.split()) == errors


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It costs twenty-five dollars.", "it costs $25"),
        ("I won't go, it's late!", "I will not go it is late"),
        ("The colour of Dr. Grey's car", "the color of doctor gray's car"),
        ("Um, yes… please", "yes please"),
        ("half past seven", "half past 7"),
    ],
)
def test_english_that_means_the_same_is_the_same(one: str, other: str) -> None:
    assert ENGLISH(one) == ENGLISH(other)


def test_other_languages_lose_case_and_punctuation_only() -> None:
    words = normaliser("de-DE")
    assert words("Grüß Gott, um 3 Uhr!") == ["grüß", "gott", "um", "3", "uhr"]


def test_no_language_is_compared_as_english() -> None:
    assert normaliser("")("I can't") == ["i", "can", "not"]


@pytest.mark.parametrize("text", ["", " \n", "…", "?!", "Um, hmm."])
def test_marks_and_hesitation_are_no_words(text: str) -> None:
    assert ENGLISH(text) == []


def test_word_error_rate_is_of_all_words_together_rather_than_a_mean_of_files() -> None:
    result = a_result(
        a_row(1, Errors(1, 0, 0), answered(10)),
        a_row(19, Errors(0, 0, 1), answered(20)),
    )
    assert result.wer_pct == pytest.approx(10.0)


def test_a_failed_file_counts_in_full_and_is_slower_than_any_other() -> None:
    result = a_result(
        a_row(10, Errors(0, 0, 0), answered(10)),
        a_row(10, Errors(0, 10, 0), None, "RESOURCE_EXHAUSTED: full"),
    )
    assert result.wer_pct == pytest.approx(50.0)
    assert len(result.failed) == 1
    assert (result.final.p50_ms, result.final.p95_ms, result.final.max_ms) == (10, None, None)
    assert result.speech_end.missing == 1
    assert result.to_json()["failed"] == 1


async def test_a_recognizer_that_hears_every_word_has_no_errors(stub_asr) -> None:
    async with stub_asr("Tell me a short story, please.") as replicas:
        texts = ("Tell me a short story, please.", "tell me a short story please")
        result = await transcribe_set(replicas, spoken(*texts), StreamConfig(), **FAST)
    assert result.wer_pct == 0
    assert result.words == 12
    assert result.config == StreamConfig("en-US", "stub")
    assert result.final.missing == 0
    assert result.final.max_ms is not None


async def test_a_recognizer_that_mishears_has_the_rate_of_its_errors(stub_asr) -> None:
    async with stub_asr("Tell me a tall story") as replicas:
        texts = ("Tell me a short story, please.", "Tell me a tall story.")
        result = await transcribe_set(replicas, spoken(*texts), StreamConfig(), **FAST)
    assert [row.errors for row in result.rows] == [Errors(1, 1, 0), Errors(0, 0, 0)]
    assert result.wer_pct == pytest.approx(100 * 2 / 11)


async def test_every_file_of_a_full_service_is_a_failed_row(stub_asr) -> None:
    audio = asr_pb2.TranscribeConfig(audio={"encoding": 1, "sample_rate_hz": 16_000})
    rows: list[Row] = []
    async with (
        stub_asr("Yes, please.", slots=1) as replicas,
        await replicas.open(asr_pb2.TranscribeRequest(config=audio)),
    ):
        files = spoken("Yes, please.", "No.")
        result = await transcribe_set(replicas, files, StreamConfig(), done=rows.append, **FAST)
    assert result.wer_pct == 100
    assert result.errors == Errors(0, 3, 0)
    assert result.final.p50_ms is None
    assert rows == list(result.rows)
    assert "RESOURCE_EXHAUSTED" in row_line(rows[0])


async def test_more_files_at_once_than_slots_are_failed_rows_in_the_sets_order(stub_asr) -> None:
    async with stub_asr("Yes, please.", slots=1) as replicas:
        files = spoken(*["Yes, please."] * 3)
        result = await transcribe_set(replicas, files, StreamConfig(), at_once=3, backend="stub", pace=Pace.REAL)
    assert [row.file for row in result.rows] == ["0.wav", "1.wav", "2.wav"]
    assert len(result.failed) == 2
    assert result.errors == Errors(0, 4, 0)


async def test_a_configuration_that_no_file_could_be_sent_with_is_an_error_and_no_result(stub_asr) -> None:
    async with stub_asr() as replicas:
        with pytest.raises(StreamRefused, match="context_ms"):
            await transcribe_set(replicas, spoken("Yes."), StreamConfig(context_ms=80), **FAST)


def write(folder: Path, name: str, text: str | None, rate_hz: int = 8_000) -> None:
    sf.write(folder / f"{name}.wav", np.full(rate_hz, 0.1), rate_hz)
    if text is not None:
        (folder / f"{name}.txt").write_text(text)


def test_a_set_is_every_wav_with_its_text_by_name(tmp_path: Path) -> None:
    write(tmp_path, "b", "Second\nline.\n")
    write(tmp_path, "a", "First.", rate_hz=48_000)
    (tmp_path / "notes.md").write_text("nothing to do with it")
    loaded = load_set(tmp_path, ENGLISH)
    assert [(one.file, one.said) for one in loaded] == [("a.wav", "First."), ("b.wav", "Second line.")]
    assert [one.seconds for one in loaded] == pytest.approx([1.0, 1.0])


def test_a_folder_without_a_wav_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(NoUtterances, match="no WAV file"):
        load_set(tmp_path, ENGLISH)
    with pytest.raises(NoUtterances):
        load_set(tmp_path / "absent", ENGLISH)


def test_a_wav_without_its_text_names_the_file_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "a", None)
    with pytest.raises(MissingText, match=r"a\.txt: missing"):
        load_set(tmp_path, ENGLISH)


def test_a_text_without_a_word_cannot_be_a_reference(tmp_path: Path) -> None:
    write(tmp_path, "a", "Hmm… ?\n")
    with pytest.raises(NoWords, match=r"a\.txt: no words"):
        load_set(tmp_path, ENGLISH)


def test_a_wav_that_is_none_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a", "Hello.")
    (tmp_path / "a.wav").write_text("not audio")
    with pytest.raises(NotWav, match=r"a\.wav"):
        load_set(tmp_path, ENGLISH)


def test_the_set_that_ships_is_small_and_has_a_text_for_each_file() -> None:
    loaded = load_set(shipped(), ENGLISH)
    assert 8 <= len(loaded) <= 12
    assert sum(len(one.pcm) for one in loaded) < 1_200_000
    assert not any(any(map(str.isdigit, one.said)) for one in loaded)
    peaks = [np.abs(np.frombuffer(one.pcm, "<i2").astype(int)).max() / 32768 for one in loaded]
    assert peaks == pytest.approx([10 ** (-6 / 20)] * len(loaded), rel=0.01)


def test_the_report_fits_80_columns_and_tells_what_was_misheard_and_what_failed() -> None:
    long = "[sic] " + "a rather long sentence that has to be wrapped " * 3
    rows = (a_row(9, Errors(1, 1, 1), answered(1234)), a_row(9, Errors(0, 9, 0), None, f"RESOURCE_EXHAUSTED: {long}"))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    far = replace(a_result(rows[0]), backend="127.0.0.1:50051")
    print_wer([a_result(*rows), far], console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "66.7%" in text
    assert "1234/none/none" in text
    assert "[sic]" in text
    assert "127.0.0.1:50051  33.3%" in text


def moonshine_is_here() -> bool:
    folder = Path(os.environ.get("ANTIPHON_MODELS_DIR", DEFAULT_DIR))
    return bool(importlib.util.find_spec("onnxruntime")) and not any(missing(folder, package) for package in WEIGHTS)


@pytest.fixture
async def moonshine() -> AsyncIterator[Replicas]:
    settings = read(bind="127.0.0.1:0", backend="moonshine", grace_s=0.0)
    async with serving(SERVICE, build(settings), settings) as at, connected([at.target]) as replicas:
        yield replicas


@pytest.mark.real
@pytest.mark.skipif(not moonshine_is_here(), reason="needs the extra cpu and: antiphon models fetch")
async def test_moonshine_hears_the_set_that_ships_almost_without_errors(moonshine: Replicas) -> None:
    result = await transcribe_set(
        moonshine, load_set(shipped(), ENGLISH), StreamConfig(), backend="moonshine", pace=Pace.FAST
    )
    assert not result.failed
    assert result.wer_pct <= 8
