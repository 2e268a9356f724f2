"""Load straight at a service: the four real services on their stubs."""

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf

import antiphon_asr.service
import antiphon_asr.settings
import antiphon_llm.service
import antiphon_llm.settings
import antiphon_tts.service
import antiphon_tts.settings
import antiphon_turn.service
import antiphon_turn.settings
from antiphon_bench.load.plan import Plan
from antiphon_bench.load.rows import TurnRow
from antiphon_bench.load.run import callers, lines_of
from antiphon_bench.load.services import service_of
from antiphon_bench.testing import tone
from antiphon_runtime.testing import Served, serving

SERVICES: dict[str, tuple[ModuleType, ModuleType]] = {
    "asr": (antiphon_asr.service, antiphon_asr.settings),
    "tts": (antiphon_tts.service, antiphon_tts.settings),
    "llm": (antiphon_llm.service, antiphon_llm.settings),
    "turn": (antiphon_turn.service, antiphon_turn.settings),
}
pytestmark = pytest.mark.slow


@pytest.fixture
def question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "question.wav"
    sf.write(path, np.concatenate([tone(0.5, 16_000), np.zeros(800, np.float32)]), 16_000)
    path.with_suffix(".txt").write_text("Where is the station?")
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", "Where is the station?")
    monkeypatch.setenv("ANTIPHON_LLM_STUB__PROFILE", "rtx5090")
    return path


@asynccontextmanager
async def served(name: str, slots: int) -> AsyncIterator[Served]:
    service, settings = SERVICES[name]
    read = settings.Settings(bind="127.0.0.1:0", backend="stub", slots=slots, grace_s=0.0)
    async with serving(service.SERVICE, service.build(read), read) as at:
        yield at


async def rows_of(url: str, question: Path, count: int, turns: int = 2) -> list[TurnRow]:
    plan = Plan(url, count, [question], turns=turns, over_s=0.1, timeout_s=60.0)
    rows: list[TurnRow] = []
    await callers(plan, range(count), lines_of(plan), time.monotonic(), rows.append)
    return rows


@pytest.mark.parametrize("name", list(SERVICES))
async def test_every_caller_is_answered_and_no_slot_is_left(question: Path, name: str) -> None:
    async with served(name, slots=4) as at:
        rows = await rows_of(f"{name}://{at.target}", question, 4)
        assert [row.outcome for row in rows] == ["answered"] * 8, [row.error for row in rows]
        assert all(row.v2v_ms is not None and row.v2v_ms >= 0 for row in rows)
        assert statistics.median(row.v2v_ms or 0 for row in rows) < 2000
    assert at.sample(f"antiphon_{name}_slots_used") == 0


async def test_what_a_recognizer_hears_must_be_what_was_said(question: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", "Something else entirely, I am afraid.")
    async with served("asr", slots=2) as at:
        rows = await rows_of(f"asr://{at.target}", question, 1)
    assert {row.outcome for row in rows} == {"wrong"} and all(row.v2v_ms is None for row in rows)


async def test_a_caller_without_a_slot_is_refused(question: Path) -> None:
    async with served("asr", slots=1) as at:
        rows = await rows_of(f"asr://{at.target}", question, 2, turns=1)
    assert sorted(row.outcome for row in rows) == ["answered", "refused"]


async def test_nobody_there_is_a_refusal(question: Path) -> None:
    rows = await rows_of("llm://127.0.0.1:9", question, 1, turns=1)
    assert [row.v2v_ms for row in rows] == [None] and rows[0].outcome in ("refused", "unanswered")


@pytest.mark.parametrize(
    ("url", "service"), [("asr://a:1", "asr"), ("turn://a:1,b:2", "turn"), ("ws://a:1/ws", ""), ("http://a:1", "")]
)
def test_a_service_is_named_by_the_address(url: str, service: str) -> None:
    assert service_of(url) == service
