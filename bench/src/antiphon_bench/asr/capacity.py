"""How many callers a recognizer serves in real time, how much audio it takes, and whether an hour slows it down."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..process import Service
from ..scrape import Scrape, quantile, scrape
from .load import Level, in_real_time, minute_by_minute
from .sets import load_set, shipped
from .stream import BYTES_PER_SAMPLE, RATE_HZ, StreamConfig, connected

VOICES = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A level of one engine at one context, and whether it held. Times in ms.

    Steps are those of live audio: their mean is exact, their percentiles come from the service's histogram, None where
    it has none.
    """

    engine: str
    context_ms: int
    level: Level
    holds: bool
    step_mean_ms: float | None
    step_p50_ms: float | None
    step_p95_ms: float | None
    step_p99_ms: float | None
    batch_mean: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values: the level's percentiles beside its raw times."""
        return asdict(self) | {"final": asdict(self.level.final)}


def voices() -> list[bytes]:
    """What callers say: the shipped utterances end to end, begun at another place by each."""
    audio = b"".join(spoken.pcm for spoken in load_set(shipped(), str.split))
    starts = [index * len(audio) // VOICES // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE for index in range(VOICES)]
    return [audio[start:] + audio[:start] for start in starts]


async def climb(
    engine: str,
    service: Service,
    context_ms: int,
    *,
    seconds: float,
    most: int,
    limit_ms: float,
    done: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Doubles the callers until 99 of 100 answers no longer come within `limit_ms`, then tries three quarters of that.

    Calls `done` after each level.
    """
    rows: list[Row] = []

    async def holds(streams: int) -> bool:
        row = await at_level(engine, service, context_ms, streams=streams, seconds=seconds, limit_ms=limit_ms)
        rows.append(row)
        done(row)
        return row.holds

    streams = 1
    while streams <= most and await holds(streams):
        streams *= 2
    if 4 <= streams <= most:
        await holds(streams * 3 // 4)
    return rows


async def at_level(
    engine: str, service: Service, context_ms: int, *, streams: int, seconds: float, limit_ms: float
) -> Row:
    """So many callers for `seconds`."""
    async with connected([service.target]) as replicas:
        before = await scrape(service.metrics)
        config = StreamConfig(context_ms=context_ms)
        level = await in_real_time(replicas, voices(), config, streams=streams, seconds=seconds, seed=streams)
        return _row(engine, context_ms, level, before, await scrape(service.metrics), limit_ms)


def most_held(rows: Sequence[Row], engine: str, context_ms: int) -> int:
    """The most callers at which an engine held; 0 when at none."""
    held = [row.level.streams for row in rows if (row.engine, row.context_ms) == (engine, context_ms) and row.holds]
    return max(held, default=0)


async def minute_steps(service: Service, context_ms: int, minutes: int) -> list[float]:
    """The mean step in each minute of one stream, in ms, as fast as it goes."""
    minute = b"".join(voices())[: 60 * RATE_HZ * BYTES_PER_SAMPLE]
    looks = [await scrape(service.metrics)]

    async def look(_: int) -> None:
        looks.append(await scrape(service.metrics))

    async with connected([service.target]) as replicas:
        await minute_by_minute(replicas, minute, StreamConfig(context_ms=context_ms), count=minutes, done=look)
    means = [_mean_step_ms(before, after) for before, after in itertools.pairwise(looks)]
    return [mean for mean in means if mean is not None]


def _mean_step_ms(before: Scrape, after: Scrape) -> float | None:
    runs, seconds = (
        after.value(name, kind="live") - before.value(name, kind="live")
        for name in ("antiphon_asr_decodes_total", "antiphon_asr_decode_seconds_total")
    )
    return 1000 * seconds / runs if runs else None


def _row(engine: str, context_ms: int, level: Level, before: Scrape, after: Scrape, limit_ms: float) -> Row:
    labels = {"context_ms": str(context_ms), "kind": "live"}

    def step_ms(share: float) -> float | None:
        seconds = quantile(before, after, share, "antiphon_asr_step_seconds", **labels)
        return None if seconds is None else seconds * 1000

    steps, streams = (
        after.value(f"antiphon_asr_batch_size_{name}", **labels)
        - before.value(f"antiphon_asr_batch_size_{name}", **labels)
        for name in ("count", "sum")
    )
    return Row(
        engine=engine,
        context_ms=context_ms,
        level=level,
        holds=level.holds(limit_ms),
        step_mean_ms=_mean_step_ms(before, after),
        step_p50_ms=step_ms(0.5),
        step_p95_ms=step_ms(0.95),
        step_p99_ms=step_ms(0.99),
        batch_mean=streams / steps if steps else None,
    )
