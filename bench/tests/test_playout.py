import numpy as np
import pytest

from antiphon_bench.frames import AgentAudio
from antiphon_bench.playout import LONGEST_BUFFER_S, Playout

RATE_HZ = 1_000
TICK_S = 0.020


def audio(seconds: float, value: float = 0.5, rate_hz: int = RATE_HZ) -> AgentAudio:
    return AgentAudio(np.full(round(seconds * rate_hz), value, np.float32), rate_hz)


def heard(playout: Playout, start_s: float) -> list[float]:
    return [round(float(sample), 3) for sample in playout.tick(start_s)]


def test_a_line_without_audio_is_silent_and_has_no_rate() -> None:
    playout = Playout(TICK_S)
    assert (heard(playout, 0.0), playout.rate_hz) == ([], 0)


def test_what_arrived_is_heard_in_order_and_in_real_time() -> None:
    playout = Playout(TICK_S)
    playout.push(audio(0.015, 0.1), 0.0)
    playout.push(audio(0.020, 0.2), 0.0)
    assert heard(playout, 0.0) == [0.1] * 15 + [0.2] * 5
    assert heard(playout, 0.02) == [0.2] * 15 + [0.0] * 5
    assert heard(playout, 0.04) == [0.0] * 20
    assert playout.underruns == 1


def test_a_late_tick_does_not_play_what_came_after_it_was_due() -> None:
    playout = Playout(TICK_S)
    playout.push(audio(0.02), 0.100)
    assert [max(heard(playout, start)) for start in (0.06, 0.08, 0.10)] == [0.0, 0.0, 0.5]


def test_an_interruption_drops_what_waits_but_not_what_comes_after_it() -> None:
    playout = Playout(TICK_S)
    playout.push(audio(1.0, 0.1), 0.0)
    assert heard(playout, 0.0) == [0.1] * 20
    playout.drop(0.030)
    playout.push(audio(0.02, 0.2), 0.030)
    # The tick at 20 ms was due before the interruption: whenever it runs, it was heard.
    assert heard(playout, 0.02) == [0.1] * 20
    assert heard(playout, 0.04) == [0.2] * 20
    assert heard(playout, 0.06) == [0.0] * 20


def test_the_buffer_is_bounded_and_says_what_it_lost() -> None:
    playout = Playout(TICK_S)
    for _ in range(round(LONGEST_BUFFER_S) + 5):
        playout.push(audio(1.0), 0.0)
    assert playout.overrun_s == pytest.approx(5.0)
    playout.drop(1.0)
    assert heard(playout, 1.0) == [0.0] * 20
    playout.push(audio(10.0), 1.01)
    assert playout.overrun_s == pytest.approx(5.0)


def test_a_frame_of_another_rate_is_converted() -> None:
    playout = Playout(TICK_S)
    playout.push(audio(0.1, rate_hz=8_000), 0.0)
    playout.push(audio(0.1, rate_hz=16_000), 0.0)
    played = np.concatenate([playout.tick(0.0) for _ in range(12)])
    assert playout.rate_hz == 8_000
    assert int(np.count_nonzero(played)) == pytest.approx(1600, abs=2)
