"""`antiphon demo` on the real models, as a newcomer runs it."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile as sf
import soxr

from antiphon.asr.v1 import asr_pb2, asr_pb2_grpc
from antiphon.common.v1 import audio_pb2
from antiphon_asr.service import SERVICE, build
from antiphon_asr.settings import Settings
from antiphon_bench.recording import measure
from antiphon_runtime.testing import collect, serving

pytestmark = [pytest.mark.real, pytest.mark.slow]
CALL_KEYS = {"troubles", "session_id", "agent", "url", "machine", "load_average", "turns", "errors", "line"}
TURN_KEYS = {
    *("file", "said", "heard", "answered", "outcome", "v2v_ms", "heard_v2v_ms", "barge_in_ms"),
    *("stages", "spans", "turn_ids", "trace_id", "why"),
}
MAX_PSS_MB = 1500


@dataclass(frozen=True)
class Demo:
    """Result of one run of the demo."""

    code: int
    printed: str
    folder: Path
    call: dict[str, Any]
    most_pss_mb: float
    processes_seen: int
    left: list[int]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        [sys.executable, "-m", "antiphon_cli", "demo", "--output", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "COLUMNS": "100"},
    ) as child:
        most_mb, seen = 0.0, set[int]()
        while child.poll() is None:
            family = descendants(child.pid)
            seen |= set(family)
            most_mb = max(most_mb, sum(map(pss_mb, family)))
            try:
                child.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        assert child.stdout
        printed = child.stdout.read()
    call = json.loads((folder / "call.json").read_text()) if (folder / "call.json").exists() else {}
    left = [pid for pid in seen if Path(f"/proc/{pid}").exists()]
    yield Demo(child.returncode, printed, folder, call, most_mb, len(seen), left)


def descendants(pid: int) -> list[int]:
    """The process and all below it that are alive."""
    family = [pid]
    for member in family:
        try:
            children = Path(f"/proc/{member}/task/{member}/children").read_text()
        except OSError:
            continue
        family += [int(child) for child in children.split()]
    return family


def pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def test_three_spoken_questions_are_answered(demo: Demo) -> None:
    assert demo.code == 0, demo.printed
    assert [turn["outcome"] for turn in demo.call["turns"]] == ["answered"] * 3
    assert "median V2V as heard" in demo.printed


def test_what_was_heard_has_at_most_15_percent_word_errors(demo: Demo) -> None:
    said = [plain(turn["said"]) for turn in demo.call["turns"]]
    heard = [plain(turn["heard"]) for turn in demo.call["turns"]]
    assert jiwer.wer(said, heard) <= 0.15, heard


def test_the_second_answer_comes_from_the_first_questions_context(demo: Demo) -> None:
    first, second, _ = demo.call["turns"]
    assert "Italy" in first["said"]
    assert "Italy" not in second["said"]
    assert "Italy" in second["answered"]


def test_the_json_has_what_was_promised_and_its_stages_tile_the_voice_to_voice_time(demo: Demo) -> None:
    assert set(demo.call) == CALL_KEYS
    assert demo.call["errors"] == []
    for turn in demo.call["turns"]:
        assert set(turn) == TURN_KEYS
        assert turn["stages"][0]["start_ms"] == 0
        for one, following in zip(turn["stages"], turn["stages"][1:], strict=False):
            assert one["end_ms"] == following["start_ms"]
        assert turn["stages"][-1]["end_ms"] == turn["v2v_ms"]
        assert {"name", "start_ms", "end_ms"} == set(turn["spans"][0])


def test_the_recording_holds_what_the_caller_heard(demo: Demo) -> None:
    result = measure(demo.folder / "call.wav")
    assert [turn.v2v_ms for turn in result.turns] == [turn["heard_v2v_ms"] for turn in demo.call["turns"]]


async def test_the_agents_audio_transcribed_back_is_what_it_answered(demo: Demo) -> None:
    audio, rate_hz = sf.read(demo.folder / "call.wav", dtype="float32")
    agent = soxr.resample(audio[:, 1], rate_hz, 16_000)
    heard = await transcribed((agent * 32767).astype(np.int16))
    answered = " ".join(turn["answered"] for turn in demo.call["turns"])
    assert jiwer.wer(plain(answered), plain(heard)) <= 0.25, heard


async def transcribed(samples: np.ndarray) -> str:
    """Transcribe the samples with the platform's own recognizer."""
    settings = Settings(bind="127.0.0.1:0", backend="moonshine", grace_s=0.0)
    audio = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=16_000)

    async def requests() -> Any:
        yield asr_pb2.TranscribeRequest(config=asr_pb2.TranscribeConfig(audio=audio))
        for start in range(0, len(samples), 8000):
            yield asr_pb2.TranscribeRequest(audio=samples[start : start + 8000].tobytes())
        yield asr_pb2.TranscribeRequest(finalize=asr_pb2.Finalize(id=1, mode=asr_pb2.FINALIZE_MODE_COMMIT))

    async with serving(SERVICE, build(settings), settings) as served, asyncio.timeout(60):
        events, error = await collect(asr_pb2_grpc.AsrServiceStub(served.channel).Transcribe(requests()))
    assert error is None
    return next(event.finalized.text for event in events if event.WhichOneof("event") == "finalized")


def test_all_processes_together_stay_under_a_gigabyte_and_a_half(demo: Demo) -> None:
    assert demo.processes_seen >= 6
    assert 0 < demo.most_pss_mb < MAX_PSS_MB


def test_no_process_is_left(demo: Demo) -> None:
    assert demo.left == []
