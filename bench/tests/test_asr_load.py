"""The load on a recognizer is honest: a self-test against recognizers that are full, mute, slow, or hang up."""

import asyncio
import json
import statistics
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, Histogram

from antiphon.asr.v1 import asr_pb2
from antiphon_asr.service import SERVICE, build
from antiphon_asr.settings import read
from antiphon_bench.asr import load
from antiphon_bench.asr.capacity import Row, at_level, climb, minute_steps, most_held, voices
from antiphon_bench.asr.load import Level, as_fast_as_possible, in_real_time, minute_by_minute
from antiphon_bench.asr.stream import StreamConfig
from antiphon_bench.errors import NotReady
from antiphon_bench.process import Service, running
from antiphon_bench.scrape import quantile, scrape
from antiphon_runtime.metrics import metrics_endpoint
from antiphon_runtime.server import listening

LOUD = (1000).to_bytes(2, "little") * 16_000


@pytest.fixture
def short_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "UTTERANCE_S", (0.2, 0.3))
    monkeypatch.setattr(load, "PATIENCE_S", 0.3)


@pytest.mark.slow
async def test_every_caller_is_answered_in_real_time(stub_asr, short_utterances) -> None:
    async with stub_asr(slots=3) as replicas:
        level = await in_real_time(replicas, [LOUD], StreamConfig(), streams=3, seconds=1.0)
    assert (level.streams, level.refused, level.lost) == (3, 0, 0)
    # Each of three says as many as fit a second: one at least, and what they wait for an answer comes on top.
    assert 3 <= len(level.final_ms) <= 18 and None not in level.final_ms
    assert statistics.median(took or 0 for took in level.final_ms) < 1000
    assert level.holds(60_000) and not level.holds(0)


@pytest.mark.slow
async def test_who_is_refused_is_counted_and_the_level_does_not_hold(stub_asr, short_utterances) -> None:
    async with stub_asr(slots=2) as replicas:
        level = await in_real_time(replicas, [LOUD], StreamConfig(), streams=3, seconds=1.5)
    assert level.refused == 1
    assert not level.holds(10_000)


@pytest.mark.slow
async def test_a_finalize_without_an_answer_ranks_above_all_others(told_asr, short_utterances) -> None:
    async def first_only(requests: Any, context: Any) -> None:
        answered = False
        async for request in requests:
            if request.WhichOneof("request") == "finalize" and not answered:
                answered = True
                await context.write(asr_pb2.TranscribeResponse(finalized=asr_pb2.Finalized(id=request.finalize.id)))

    async with told_asr(first_only) as replicas:
        level = await in_real_time(replicas, [LOUD], StreamConfig(), streams=1, seconds=1.0)
    assert level.final_ms[0] is not None and None in level.final_ms
    assert level.final.p99_ms is None and level.final.missing == len(level.final_ms) - 1
    assert not level.holds(10_000)


@pytest.mark.slow
async def test_a_stream_that_the_server_ends_is_lost(told_asr, short_utterances) -> None:
    async def hang_up(requests: Any, context: Any) -> None:
        async for request in requests:
            if request.WhichOneof("request") == "finalize":
                await context.abort(grpc.StatusCode.INTERNAL, "gone")

    async with told_asr(hang_up) as replicas:
        level = await in_real_time(replicas, [LOUD], StreamConfig(), streams=2, seconds=1.0)
    assert level.lost == 2 and not level.holds(10_000)


@pytest.mark.slow
async def test_a_slow_answer_is_as_slow_as_it_was(told_asr, short_utterances, monkeypatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_S", 5.0)

    async def slow(requests: Any, context: Any) -> None:
        async for request in requests:
            if request.WhichOneof("request") == "finalize":
                await asyncio.sleep(0.2)
                await context.write(asr_pb2.TranscribeResponse(finalized=asr_pb2.Finalized(id=request.finalize.id)))

    async with told_asr(slow) as replicas:
        level = await in_real_time(replicas, [LOUD], StreamConfig(), streams=1, seconds=0.5)
    assert all(took is not None and took >= 200 for took in level.final_ms)


async def test_as_fast_as_possible_is_all_audio_over_the_time_it_took(stub_asr) -> None:
    async with stub_asr() as replicas:
        assert await as_fast_as_possible(replicas, [LOUD], StreamConfig(), streams=4, seconds=5.0) > 20


async def test_minutes_are_told_one_by_one(stub_asr) -> None:
    done: list[int] = []

    async def note(number: int) -> None:
        done.append(number)

    async with stub_asr() as replicas:
        await minute_by_minute(replicas, LOUD, StreamConfig(), count=3, done=note)
    assert done == [1, 2, 3]


async def test_a_histograms_quantile_is_of_what_came_between_two_looks() -> None:
    registry = CollectorRegistry()
    seconds = Histogram("step_seconds", "", ["kind"], buckets=(0.01, 0.02, 0.04), registry=registry)
    with metrics_endpoint("127.0.0.1:0", registry) as port:
        for _ in range(100):
            seconds.labels("live").observe(0.005)
        before = await scrape(f"127.0.0.1:{port}")
        for value in (0.015, 0.015, 0.03, 0.03):
            seconds.labels("live").observe(value)
        after = await scrape(f"127.0.0.1:{port}")
    assert quantile(before, after, 0.5, "step_seconds", kind="live") == pytest.approx(0.02)
    assert quantile(before, after, 0.75, "step_seconds", kind="live") == pytest.approx(0.03)
    assert quantile(before, after, 0.5, "step_seconds", kind="flush") is None
    assert after.value("step_seconds_count", kind="live") - before.value("step_seconds_count", kind="live") == 4


@pytest.mark.slow
async def test_a_climb_doubles_until_it_does_not_hold_and_looks_back(short_utterances, monkeypatch) -> None:
    settings = read(bind="127.0.0.1:0", metrics_bind="127.0.0.1:0", backend="stub", slots=5, grace_s=0.0)
    async with listening(settings, SERVICE, build(settings)) as at:
        service = Service(f"127.0.0.1:{at.port}", f"127.0.0.1:{at.metrics_port}")
        rows = await climb("ours", service, 0, seconds=1.3, most=64, limit_ms=2000)
        assert [row.level.streams for row in rows] == [1, 2, 4, 8, 6]
        assert [row.holds for row in rows] == [True, True, True, False, False]
        assert most_held(rows, "ours", 0) == 4 and most_held(rows, "seed", 0) == 0
        assert json.dumps([row.to_json() for row in rows])
        row = await at_level("ours", service, 0, streams=1, seconds=0.5, limit_ms=2000)
        assert row.step_mean_ms is None and row.batch_mean is None  # the stub has no model
        assert await minute_steps(service, 0, 1) == []


def test_callers_say_the_same_things_from_other_places_on() -> None:
    said = voices()
    assert len(set(said)) == 16 and len({len(voice) for voice in said}) == 1
    assert all(len(voice) % 2 == 0 for voice in said)


@pytest.mark.slow
async def test_a_service_that_does_not_start_says_where_to_look(tmp_path: Path) -> None:
    log = tmp_path / "asr.log"
    with pytest.raises(NotReady, match=r"has ended before it was ready: see .*asr\.log"):
        async with running("asr", "no-such-backend", {}, log):
            pass
    assert "no-such-backend" in log.read_text()


@pytest.mark.slow
async def test_a_service_that_starts_can_be_called_and_is_stopped(tmp_path: Path) -> None:
    async with running("asr", "stub", {"SLOTS": "3"}, tmp_path / "asr.log") as service:
        assert (await scrape(service.metrics)).value("antiphon_asr_slots_total") == 3
    with pytest.raises(OSError, match="refused"):
        await scrape(service.metrics)


def test_a_plot_of_rows_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs make setup-nemo")
    from antiphon_bench.asr.plot import plot

    levels = [Level(count, 0, 0, 1.0, (10.0 * count, 12.0), 0.0, 0.5) for count in (1, 2)]
    rows = [
        Row(engine, 160, level, True, None, None, None, None, None) for engine in ("ours", "seed") for level in levels
    ]
    plot(rows, "a title", 80.0, tmp_path / "asr.png")
    assert (tmp_path / "asr.png").read_bytes().startswith(b"\x89PNG")
