import pytest

from antiphon_orchestrator.client_reports import MOST_UNDERRUNS, underruns
from antiphon_orchestrator.ingress import IngressLag


def test_audio_that_comes_as_it_is_spoken_has_no_lag_whatever_the_network_always_takes() -> None:
    lag = IngressLag()
    assert [lag.arrived(at * 0.02, 100.3 + at * 0.02) for at in range(100)] == pytest.approx([0.0] * 100)


def test_audio_that_is_held_up_lags_until_it_has_caught_up() -> None:
    lag = IngressLag()
    assert lag.arrived(1.00, 11.00) == 0
    assert lag.arrived(1.02, 11.27) == pytest.approx(0.25)
    assert lag.arrived(1.04, 11.27) == pytest.approx(0.23)
    assert lag.arrived(1.30, 11.30) == pytest.approx(0.0)


def test_a_silent_line_counts_as_lag_for_no_longer_than_the_window() -> None:
    lag = IngressLag(window_s=10)
    lag.arrived(1.0, 1.0)
    assert lag.arrived(1.02, 6.02) == pytest.approx(5.0)
    for at in range(1, 600):
        last = lag.arrived(1.02 + at * 0.02, 6.02 + at * 0.02)
    assert last == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("message", "count"),
    [
        ({"type": "antiphon.underruns", "count": 3}, 3),
        ({"type": "antiphon.underruns", "count": 10**9}, MOST_UNDERRUNS),
        ({"type": "antiphon.underruns", "count": -1}, 0),
        ({"type": "antiphon.underruns", "count": "3"}, 0),
        ({"type": "antiphon.underruns"}, 0),
        ({"type": "client-ready", "count": 3}, 0),
        ("antiphon.underruns", 0),
        (None, 0),
    ],
)
def test_a_players_report_is_read_and_nothing_else_is_one(message: object, count: int) -> None:
    assert underruns(message) == count
