"""Gaps and bursts in a caller's audio."""

import random

import pytest
from own_bot import bot, settles
from pipecat.frames.frames import InputAudioRawFrame

from antiphon_orchestrator.audio_gaps import PIECE_S, Backlog, GapFiller, GapPolicy, IngressClock
from antiphon_orchestrator.services.frames import AUDIO_LATE_MS, LateAudioFrame

POLICY = GapPolicy()
FRAME_S = 0.02


class Line:
    """A caller's line on a clock of its own: what comes, and the silence that is put in its place."""

    def __init__(self, frame_s: float = FRAME_S) -> None:
        self.now_s = 0.0
        self.clock = IngressClock(POLICY, 0.0)
        self.frame_s = frame_s
        self.heard_s = self.filled_s = 0.0
        self.late = 0

    def _pass(self, seconds: float) -> None:
        """Time passes in small steps, and silence is inserted as soon as it is due."""
        steps = max(1, round(seconds / 0.005))
        for _ in range(steps):
            self.now_s += seconds / steps
            self.filled_s += self.clock.fill(self.now_s) * PIECE_S

    def silent(self, seconds: float) -> None:
        self._pass(seconds)

    def sends(self, seconds: float, *, at_once: bool = False) -> None:
        for _ in range(round(seconds / self.frame_s)):
            if not at_once:
                self._pass(self.frame_s)
            self.late += self.clock.arrived(self.frame_s, self.now_s)
            self.heard_s += self.frame_s

    @property
    def behind_s(self) -> float:
        """Seconds by which the forwarded audio lags behind the elapsed time."""
        return self.now_s - self.heard_s - self.filled_s


@pytest.mark.parametrize("frame_s", [0.01, 0.02, 0.1, 1.0])
def test_audio_in_time_is_left_alone_whatever_the_length_of_its_frames(frame_s: float) -> None:
    line = Line(frame_s)
    line.sends(20)
    assert line.filled_s <= (0 if frame_s < POLICY.patience_s else frame_s) and not line.late


def test_a_caller_who_mutes_is_silent_from_then_on() -> None:
    line = Line()
    line.sends(2)
    line.silent(60)
    assert line.filled_s == pytest.approx(60, abs=2 * PIECE_S)
    line.sends(2)
    assert line.behind_s == pytest.approx(0, abs=2 * PIECE_S) and not line.late


def test_a_caller_who_never_sends_anything_is_silent() -> None:
    line = Line()
    line.silent(10)
    assert line.filled_s == pytest.approx(10, abs=2 * PIECE_S)


@pytest.mark.parametrize("every_s", [0.08, 0.16, 0.4, 1.0])
def test_a_client_that_sends_a_frame_now_and_then_in_silence_keeps_its_clock(every_s: float) -> None:
    line = Line()
    line.sends(1)
    for _ in range(round(10 / every_s)):
        line.silent(every_s - FRAME_S)
        line.sends(FRAME_S)
    assert line.behind_s < POLICY.patience_s + 2 * PIECE_S + 0.02 and not line.late


def test_jitter_below_the_patience_is_no_gap() -> None:
    line = Line()
    line.sends(1)
    for _ in range(50):
        line.silent(0.24)
        line.sends(0.24, at_once=True)
    assert line.filled_s == 0 and not line.late


def test_a_clock_that_runs_slow_by_a_percent_is_no_gap() -> None:
    line = Line()
    for _ in range(60 * 50):
        line.silent(FRAME_S * 1.01)
        line.late += line.clock.arrived(FRAME_S, line.now_s)
    assert line.filled_s == 0 and not line.late


@pytest.mark.parametrize("jitter_s", [0.001, 0.003, 0.005, 0.02])
@pytest.mark.parametrize("mute_s", [0.35, 3.0, 600.0])
def test_what_follows_a_mute_is_not_late_however_it_jitters(mute_s: float, jitter_s: float) -> None:
    line, draw = Line(), random.Random(1)
    line.sends(5)
    line.silent(mute_s)
    start_s = line.now_s
    for tick in range(1, 120 * 50):
        line.now_s = max(line.now_s, start_s + tick * FRAME_S + draw.uniform(0, jitter_s))
        line.filled_s += line.clock.fill(line.now_s) * PIECE_S
        line.late += line.clock.arrived(FRAME_S, line.now_s)
    assert not line.late


def test_a_busy_process_is_patient_up_to_a_bound() -> None:
    line = Line()
    line.sends(1)
    line.clock.held_up(0.05, line.now_s)
    line.silent(0.6)
    assert line.filled_s == 0
    line.silent(0.6)
    assert line.filled_s > 1
    line.sends(5)
    line.clock.held_up(60.0, line.now_s)
    line.silent(1.1)
    assert line.behind_s < 3 * PIECE_S


def test_audio_of_a_stalled_line_is_late_and_what_follows_is_not() -> None:
    line = Line()
    line.sends(1)
    line.silent(2)
    line.sends(2, at_once=True)
    assert line.late > 0
    line.late = 0
    line.sends(5)
    assert not line.late


def test_what_a_client_saved_up_before_the_call_began_is_not_late() -> None:
    line = Line()
    line.silent(1)
    line.sends(1, at_once=True)
    assert not line.late


def test_a_short_burst_passes_at_once_and_a_long_one_faster_than_it_was_spoken() -> None:
    backlog, rate = Backlog(POLICY, 32_000, 0.0), 32_000
    assert backlog.put(bytes(round(0.4 * rate))) == 0
    assert len(backlog.take(0.0)) == round(0.4 * rate) and backlog.due_in_s is None
    backlog.put(bytes(4 * rate))
    now_s, passed = 1.0, 0
    while backlog.due_in_s is not None:
        passed += len(backlog.take(now_s))
        now_s += backlog.due_in_s or 0.0
    assert passed == 4 * rate and now_s - 1.0 == pytest.approx((4 - POLICY.burst_s) / POLICY.catch_up, abs=0.05)


def test_of_a_burst_that_is_too_long_the_oldest_goes_and_is_counted() -> None:
    backlog, rate = Backlog(POLICY, 32_000, 0.0), 32_000
    dropped = sum(backlog.put(bytes([second]) * rate) for second in range(1, 21))
    assert dropped == pytest.approx(15)
    kept, now_s = b"", 0.0
    while backlog.due_in_s is not None:
        now_s += 0.1
        kept += backlog.take(now_s)
    assert kept[0] == 16 and kept[-1] == 20 and len(kept) == 5 * rate


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def audio(frame_s: float, value: int = 1) -> InputAudioRawFrame:
    return InputAudioRawFrame(audio=bytes([value, 0]) * round(16_000 * frame_s), sample_rate=16_000, num_channels=1)


async def test_frames_pass_in_order_and_silence_follows_when_they_stop() -> None:
    filled: list[float] = []
    quick = GapPolicy(patience_s=0.05)
    async with bot(GapFiller(quick, on_filled=filled.append)) as at:
        await at.send(*(audio(FRAME_S, value) for value in range(1, 6)))
        await settles(lambda: sum(filled) > 0.2)
        heard = b"".join(frame.audio for frame in at.down.of(InputAudioRawFrame))
        spoken = [value for value in heard[::2] if value]
        assert spoken == sorted(spoken) and len(spoken) == 5 * 320
        assert all(AUDIO_LATE_MS in frame.metadata for frame in at.down.of(InputAudioRawFrame))


async def test_late_audio_is_told_before_it_is_heard() -> None:
    clock = Clock()
    async with bot(GapFiller(clock=clock)) as at:
        await at.send(audio(FRAME_S))
        await at.down.until(InputAudioRawFrame)
        clock.now_s += 2.0
        await settles(lambda: len(at.down.of(InputAudioRawFrame)) > 50)
        await at.send(*(audio(FRAME_S, 2) for _ in range(100)))
        await at.down.until(LateAudioFrame)
        await settles(lambda: any(frame.audio[0] == 2 for frame in at.down.of(InputAudioRawFrame)))
