"""What the bench of synthesizers reckons, and that it hears what a service says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from antiphon_bench.process import running
from antiphon_bench.tts.bench import long_over_short, read
from antiphon_bench.tts.load import Heard, Level, arriving, at_once, sentences, speak, spread, underruns
from antiphon_bench.tts.plot import plot
from antiphon_bench.tts.report import ratio, table


def heard(ttfb_ms: float | None, words: int = 5) -> Heard:
    return Heard(words, ttfb_ms, 200.0, 1000.0, 1, 10.0)


def level(*ttfbs: float | None, mode: str = "hybrid", callers: int = 1) -> Level:
    return Level("ours", mode, callers, 0.0, tuple(map(heard, ttfbs)), 2.0, 0.5)


def test_the_published_list_is_fifty_sentences_of_several_lengths() -> None:
    counts = sorted(len(text.split()) for text in sentences())
    assert (len(counts), counts[0], counts[-1]) == (50, 1, 35)
    assert len(set(counts)) > 20


def test_a_sentence_without_audio_ranks_above_every_other() -> None:
    found = spread([30.0, None, 10.0, 20.0])
    assert (found.count, found.missing, found.min, found.p50, found.p90, found.max) == (4, 1, 10.0, 20.0, None, None)
    assert found.mean == 20.0
    assert spread([]).mean is None


@pytest.mark.parametrize(
    ("arrivals", "count", "silent"),
    [
        ([], 0, 0.0),
        ([(5.0, 0.1)], 0, 0.0),
        ([(5.0, 0.1), (5.1, 0.1), (5.15, 1.0)], 0, 0.0),
        ([(5.0, 0.1), (5.3, 0.1), (5.6, 0.1)], 2, 0.4),
        ([(5.0, 1.0), (5.1, 1.0), (7.5, 1.0)], 1, 0.5),
    ],
)
def test_a_listener_runs_dry_when_audio_comes_after_the_last_has_been_played(
    arrivals: list[tuple[float, float]], count: int, silent: float
) -> None:
    assert underruns(arrivals) == (count, pytest.approx(silent))


def test_ratios_are_of_means_and_none_where_a_side_is_missing() -> None:
    levels = [level(100.0, 200.0), level(600.0, 300.0, mode="batch")]
    assert ratio(levels, {"mode": "batch"}, {"mode": "hybrid"}) == 3.0
    assert ratio(levels, {"mode": "batch"}, {"mode": "stream"}) is None
    assert ratio([level(None)], {"mode": "hybrid"}, {"mode": "hybrid"}, "p50") is None


def test_long_sentences_are_compared_with_short_ones() -> None:
    both = Level("ours", "hybrid", 1, 0.0, (heard(120.0, 25), heard(100.0, 5), heard(900.0, 14)), 1.0, None)
    assert long_over_short([both]) == 1.2
    assert long_over_short([level(100.0)]) is None
    assert long_over_short([]) is None


def test_the_table_says_none_where_nothing_was_heard() -> None:
    lines = table([level(10.0, None), level(20.0, mode="batch", callers=4)]).splitlines()
    assert lines[2] == "| ours | hybrid | 1 | 10 | 10 | none | none | none | none | 10 | 1.0 | 2 | 0.5 |"


def test_the_plot_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot([level(10.0, None), level(20.0, mode="batch", callers=4)], "title", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_options() -> None:
    assert read(["--callers", "1", "2", "--size", "full"]).callers == (1, 2)
    assert read(["--checkpoint", "x/real.nemo"]).model == "real"


@asynccontextmanager
async def stub(log: Path) -> AsyncIterator[str]:
    async with running("tts", "stub", {"SLOTS": "4"}, log) as service:
        yield service.target


@pytest.mark.slow
async def test_callers_hear_the_whole_list_and_refusals_are_errors(tmp_path: Path) -> None:
    async with stub(tmp_path / "tts.log") as target:
        together = await at_once("ours", target, sentences(), "stream", 4)
        assert len(together.heard) == 50 and together.ttfb.missing == 0
        assert together.audio_rate > 0 and all(each.audio_ms > 0 for each in together.heard)
        random = await arriving("ours", target, ["Hello."] * 5, "batch", 200.0)
        assert len(random.heard) == 5 and random.rate == 200.0
        refused = await speak(target, "Hello.", "hybrid")
        assert refused.ttfb_ms is None and "INVALID_ARGUMENT" in refused.error
        crowd = await asyncio.gather(*(speak(target, "word " * 300, "stream") for _ in range(12)))
        assert any("RESOURCE_EXHAUSTED" in each.error for each in crowd)
