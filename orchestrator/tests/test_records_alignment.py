"""Both sides of a recording are aligned by the clock, whatever the line does; time is simulated."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon_orchestrator.records.stereo import HOLD_S, Chunk, StereoRecording
from antiphon_orchestrator.records.tracks import CUT_SHARE, MOST_AHEAD, RATE_HZ

CALLER_HZ = 16_000
FRAME_S = 0.02
# From when to when a marker sounds, in every period; of two sides, the agent's follows the caller's.
PERIOD_S = 10.0
MARKER_S = 0.3
ALIGNED_S = 0.02


@dataclass
class Memory:
    """A file in memory."""

    parts: list[NDArray[np.int16]] = field(default_factory=list)
    closed: bool = False

    def write(self, frames: NDArray[np.int16]) -> None:
        self.parts.append(frames)

    def close(self) -> None:
        self.closed = True

    def side(self, number: int) -> NDArray[np.int16]:
        return np.concatenate(self.parts)[:, number]


@cache
def period(rate_hz: int) -> NDArray[np.int16]:
    """A quiet line on which a marker sounds first; and again, so that any part of a period can be cut out."""
    at = np.arange(round(PERIOD_S * rate_hz)) / rate_hz
    noise = np.random.default_rng(1).normal(0, 200, len(at))
    marker = 8000 * np.sin(2 * np.pi * 1000 * at) * (at < MARKER_S)
    return np.tile((noise + marker).astype(np.int16), 2)


def speech(start_s: float, duration_s: float, rate_hz: int) -> NDArray[np.int16]:
    """Audio spoken from `start_s` on: a marker at the beginning of each period."""
    start = round(start_s * rate_hz) % round(PERIOD_S * rate_hz)
    return period(rate_hz)[start : start + round(duration_s * rate_hz)]


def markers(side: NDArray[np.int16]) -> list[float]:
    """Return the start of each marker, in seconds."""
    loud = side[: len(side) // 24 * 24].reshape(-1, 24).max(axis=1) > 4000
    return [float(at) / 1000 for at in np.flatnonzero(loud) if not loud[max(0, at - 700) : at].any()]


def caller_frames(until_s: float, ppm: float = 0.0, rate_hz: int = CALLER_HZ) -> Iterator[tuple[float, bytes]]:
    """Frames of the caller with the moment in which each has been spoken, by a clock that is off by `ppm`."""
    spoken_s = 0.0
    real_s = FRAME_S / (1 + ppm / 1e6)
    while spoken_s + real_s <= until_s:
        pcm = speech(spoken_s, FRAME_S, rate_hz).tobytes()
        spoken_s += real_s
        yield spoken_s, pcm


def recorded(chunks: list[Chunk], until_s: float, agent: list[Chunk] = ()) -> Memory:  # type: ignore[assignment]
    memory = Memory()
    recording = StereoRecording(memory)
    ordered = sorted(
        [(chunk.at_s, 0, chunk) for chunk in chunks] + [(chunk.at_s, 1, chunk) for chunk in agent],
        key=lambda one: one[:2],
    )
    written_at_s = 0.0
    for at_s, side, chunk in ordered:
        while at_s - written_at_s >= 0.25:
            written_at_s += 0.25
            recording.advance(written_at_s)
        (recording.add_agent if side else recording.add_caller)(chunk)
    recording.finish(until_s)
    return memory


def caller_chunk(pcm: bytes, at_s: float, rate_hz: int = CALLER_HZ) -> Chunk:
    return Chunk(pcm, rate_hz, 1, at_s)


def expected(until_s: float) -> list[float]:
    return [float(at) for at in np.arange(0, until_s - MARKER_S, PERIOD_S)]


def off_by(found: list[float], true: list[float]) -> float:
    assert len(found) == len(true), (found[:10], true[:10])
    return max(abs(one - two) for one, two in zip(found, true, strict=True))


def hour_of_trouble(seed: int, until_s: float, ppm: float) -> tuple[list[Chunk], list[float]]:
    """A caller with jitter, drift, mutes and stalls that end in bursts; and the markers that were not muted."""
    rng = random.Random(seed)
    mutes, stalls, at_s = [], [], 5.0
    while at_s < until_s - 30:
        at_s += rng.uniform(5, 60)
        (mutes if rng.random() < 0.5 else stalls).append((at_s, at_s := at_s + rng.uniform(0.05, HOLD_S - 0.3)))
    chunks, last_s = [], 0.0
    for spoken_s, pcm in caller_frames(until_s, ppm):
        if any(start <= spoken_s < end for start, end in mutes):
            continue
        stalled = next((end for start, end in stalls if start <= spoken_s < end), spoken_s)
        last_s = max(last_s, stalled + min(rng.expovariate(200), 0.03))
        chunks.append(caller_chunk(pcm, last_s))

    def muted(marker_s: float) -> bool:
        return any(start - 0.05 < marker_s + MARKER_S and end + 0.05 > marker_s for start, end in mutes)

    return chunks, [one for one in expected(until_s) if not muted(one)]


@pytest.mark.parametrize("ppm", [-150.0, 150.0])
def test_a_caller_with_drift_gaps_and_bursts_stays_aligned(ppm: float) -> None:
    until_s = 300.0
    chunks, true = hour_of_trouble(1, until_s, ppm)
    side = recorded(chunks, until_s).side(0)
    assert len(side) == pytest.approx(until_s * RATE_HZ, abs=ALIGNED_S * RATE_HZ)
    kept = [one for one in markers(side) if any(abs(one - two) < 5 for two in true)]
    assert off_by([one for one in kept if min(abs(one - two) for two in true) < 1], true) <= ALIGNED_S


def test_an_hour_stays_aligned_on_both_sides() -> None:
    """A clock that runs slow and the loss of every hundredth frame, beside an agent; frames of half a second."""
    until_s, size_s = 3600.0, 0.5
    chunks, agent = [], []
    for number in range(round(until_s / size_s)):
        start_s = number * size_s
        if number % 100 != 50:
            pcm = speech(start_s, size_s, RATE_HZ).tobytes()
            chunks.append(Chunk(pcm, RATE_HZ, 1, (start_s + size_s) * 1.0001))
        if start_s % PERIOD_S < 2:
            agent.append(Chunk(speech(start_s, size_s, RATE_HZ).tobytes(), RATE_HZ, 1, start_s))
    memory = recorded(chunks, until_s, agent)
    caller, said = markers(memory.side(0)), markers(memory.side(1))
    assert off_by(said, expected(until_s)) <= 0.001
    assert off_by(caller, [one * 1.0001 for one in expected(until_s)]) <= ALIGNED_S


def test_audio_that_comes_late_in_a_burst_is_put_where_it_was_spoken() -> None:
    frames = list(caller_frames(60, rate_hz=RATE_HZ))
    clean = recorded([caller_chunk(pcm, at_s, RATE_HZ) for at_s, pcm in frames], 60).side(0)
    late = [caller_chunk(pcm, 31.7 if 30 < at_s < 31.7 else at_s, RATE_HZ) for at_s, pcm in frames]
    assert np.array_equal(recorded(late, 60).side(0), clean)


def test_packets_of_several_frames_lose_nothing() -> None:
    frames = list(caller_frames(30, rate_hz=RATE_HZ))
    clean = recorded([caller_chunk(pcm, at_s, RATE_HZ) for at_s, pcm in frames], 30).side(0)
    packets = [caller_chunk(pcm, frames[number // 5 * 5 + 4][0], RATE_HZ) for number, (_, pcm) in enumerate(frames)]
    assert np.array_equal(recorded(packets, 30).side(0), clean)


@pytest.mark.parametrize("stall_s", [3.0, 5.0, 8.0])
def test_a_burst_that_is_too_late_for_its_place_does_not_shift_the_rest_for_ever(stall_s: float) -> None:
    """As later speech it takes its time; a backlog ends at the rate at which audible audio may be left out."""
    until_s, stalled_s = 120.0, 21.0
    end_s = stalled_s + stall_s
    frames = list(caller_frames(until_s))
    late = [caller_chunk(pcm, end_s if stalled_s < at_s < end_s else at_s) for at_s, pcm in frames]
    found = markers(recorded(late, until_s).side(0))
    aligned_from_s = end_s + (stall_s - HOLD_S) / CUT_SHARE
    true = [one for one in expected(until_s) if one > aligned_from_s]
    assert true and off_by([one for one in found if one > aligned_from_s - 1], true) <= ALIGNED_S
    # Until then, no more off than the backlog.
    assert all(one % PERIOD_S <= stall_s for one in found)


def test_in_silence_a_backlog_ends_at_once() -> None:
    frames = [(at_s, pcm if at_s % PERIOD_S < 0.5 else bytes(len(pcm))) for at_s, pcm in caller_frames(60)]
    # Silence was heard in the stall, as a gap filler makes it, and then the missing words came.
    words = [pcm for at_s, pcm in frames if 20 < at_s < 20.5]
    filled = [(at_s, bytes(len(pcm)) if 20 < at_s < 24 else pcm) for at_s, pcm in frames]
    chunks = [caller_chunk(pcm, at_s) for at_s, pcm in filled] + [caller_chunk(pcm, 24.0) for pcm in words]
    chunks.sort(key=lambda chunk: chunk.at_s)
    found = markers(recorded(chunks, 60).side(0))
    assert [one for one in found if one > 26] == pytest.approx([30, 40, 50], abs=ALIGNED_S)
    assert any(22 < one < 25 for one in found)


def test_a_client_that_sends_faster_than_time_is_held_to_the_clock() -> None:
    frames = list(caller_frames(60))
    memory = recorded([caller_chunk(pcm, at_s / 2) for at_s, pcm in frames], 30)
    assert len(memory.side(0)) <= 30 * RATE_HZ + MOST_AHEAD + RATE_HZ / 50


def test_a_silent_call_is_as_long_as_it_was() -> None:
    memory = recorded([], 61.5)
    assert len(memory.side(0)) == len(memory.side(1)) == 61.5 * RATE_HZ and not memory.side(0).any()


def agent_chunks(start_s: float, duration_s: float, at_s: float | None = None) -> list[Chunk]:
    """An utterance in chunks of 20 ms, paced as a transport does it, or all sent at one moment."""
    count = round(duration_s / FRAME_S)
    pcm = speech(0.0, duration_s, RATE_HZ).tobytes()
    size = len(pcm) // count
    times = [start_s + number * FRAME_S if at_s is None else at_s for number in range(count)]
    return [Chunk(pcm[number * size : (number + 1) * size], RATE_HZ, 1, one) for number, one in enumerate(times)]


def test_the_agent_is_recorded_as_it_plays_paced_or_sent_at_once() -> None:
    agent = [*agent_chunks(3, 2), *agent_chunks(10, 4, at_s=10), *agent_chunks(14.05, 1), *agent_chunks(30, 2)]
    found = markers(recorded([], 40, agent).side(1))
    assert found == pytest.approx([3, 10, 14.05, 30], abs=ALIGNED_S)


def test_a_delay_of_the_loop_leaves_no_hole_in_the_agents_voice() -> None:
    clean = agent_chunks(3, 4)
    delayed = [Chunk(one.pcm, RATE_HZ, 1, 4.2 if 4 < one.at_s < 4.2 else one.at_s) for one in clean]
    assert np.array_equal(recorded([], 10, delayed).side(1), recorded([], 10, clean).side(1))


def test_what_is_interrupted_is_cut_where_the_caller_stopped_hearing_it() -> None:
    memory = Memory()
    recording = StereoRecording(memory)
    for chunk in agent_chunks(1, 8, at_s=1):
        recording.add_agent(chunk)
    recording.interrupt_agent(2.5)
    for chunk in agent_chunks(4, 1):
        recording.add_agent(chunk)
    recording.finish(6)
    side = memory.side(1)
    assert side[RATE_HZ : 2 * RATE_HZ].any() and not side[round(2.53 * RATE_HZ) : 4 * RATE_HZ].any()
    assert markers(side) == pytest.approx([1, 4], abs=ALIGNED_S)


def test_what_the_agent_had_not_said_when_the_call_ended_is_not_in_it() -> None:
    memory = recorded([], 3, agent_chunks(1, 8, at_s=1))
    assert len(memory.side(1)) == 3 * RATE_HZ and memory.side(1)[2 * RATE_HZ :].any()


def test_any_rate_and_stereo_are_taken() -> None:
    for rate_hz, channels in ((8_000, 1), (16_000, 2), (44_100, 1), (48_000, 2)):
        memory = Memory()
        recording = StereoRecording(memory)
        for number in range(500):
            pcm = np.repeat(speech(number * FRAME_S, FRAME_S, rate_hz), channels).tobytes()
            recording.add_caller(Chunk(pcm, rate_hz, channels, (number + 1) * FRAME_S))
        recording.finish(10)
        assert len(memory.side(0)) == pytest.approx(10 * RATE_HZ, abs=ALIGNED_S * RATE_HZ), rate_hz
        assert markers(memory.side(0)) == pytest.approx([0], abs=ALIGNED_S)
