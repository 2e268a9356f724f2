import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from prometheus_client import CollectorRegistry

from antiphon_bench.canary import OUTCOMES, CanaryMetrics, Route, call_once, keep_calling
from antiphon_bench.testing import Manner, answering, tone

pytestmark = pytest.mark.slow


class Watched:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = CanaryMetrics.register(self.registry)

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"antiphon_canary_{name}", labels) or 0.0

    @property
    def calls(self) -> dict[str, float]:
        counts = {outcome: self.value("calls_total", outcome=outcome) for outcome in OUTCOMES}
        return {outcome: count for outcome, count in counts.items() if count}


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    sf.write(path, np.concatenate([tone(0.5, 16_000), np.zeros(800, np.float32)]), 16_000)
    path.with_suffix(".txt").write_text("Question one, please.")
    return path


async def test_an_answered_call_tells_latency_success_and_words(question: Path) -> None:
    watched = Watched()
    async with answering(Manner(delay_s=0.4, answer_s=0.3)) as agent:
        assert await call_once(Route(agent.url, [question]), watched.metrics) == "answered"
    assert watched.calls == {"answered": 1} and watched.value("healthy") == 1
    assert watched.value("v2v_seconds_sum") == pytest.approx(0.4, abs=0.1)
    # It heard "question 1".
    assert (watched.value("words_total"), watched.value("word_errors_total")) == (3, 1)


async def test_a_call_with_dead_air_does_not_look_fine(question: Path) -> None:
    watched = Watched()
    async with answering(Manner(delay_s=3.5, answer_s=0.3)) as agent:
        assert await call_once(Route(agent.url, [question]), watched.metrics) == "answered"
    assert watched.value("healthy") == 1  # it was answered
    assert watched.value("troubles_total", kind="dead_air") == 1
    assert watched.value("troubles_total", kind="broken_off") == 0
    assert watched.value("dead_air_seconds_total") >= 3.4


@pytest.mark.parametrize(
    ("manner", "outcome"),
    [
        (Manner(refuses=HTTPStatus.SERVICE_UNAVAILABLE), "busy"),
        (Manner(refuses=HTTPStatus.UNAUTHORIZED), "refused"),
        (Manner(dies_after_s=0.1), "dropped"),
    ],
)
async def test_a_call_that_fails_is_counted_as_what_happened_and_in_no_latency(
    question: Path, manner: Manner, outcome: str
) -> None:
    watched = Watched()
    async with answering(manner) as agent:
        assert await call_once(Route(agent.url, [question]), watched.metrics) == outcome
    assert watched.calls == {outcome: 1} and watched.value("healthy") == 0
    # What was heard before the line broke is a latency; a call that was refused has none.
    assert watched.value("v2v_seconds_count") == (1 if outcome == "dropped" else 0)


async def test_nobody_there_is_unreachable(question: Path) -> None:
    watched = Watched()
    assert await call_once(Route("ws://127.0.0.1:9/ws", [question]), watched.metrics) == "unreachable"


async def test_calls_keep_their_schedule_and_go_on_after_a_failure(question: Path) -> None:
    watched = Watched()
    tokens = iter(f"token-{number}" for number in range(10))

    @asynccontextmanager
    async def calling(url: str) -> AsyncIterator[None]:
        route = Route(url, [question], token=lambda: next(tokens))
        task = asyncio.create_task(keep_calling(route, watched.metrics, every_s=0.2))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async with answering(Manner(refuses=HTTPStatus.SERVICE_UNAVAILABLE)) as agent, calling(agent.url):
        began_s = time.monotonic()
        async with asyncio.timeout(60):
            while watched.calls.get("busy", 0) < 6:  # noqa: ASYNC110  # a counter announces nothing
                await asyncio.sleep(0.01)
        assert time.monotonic() - began_s > 0.9  # the sixth is due after a second
        assert [path.partition("token=")[2] for path in agent.paths[:2]] == ["token-0", "token-1"]
