from typing import Any

import numpy as np
import pytest

from antiphon_cli.rates import RATES_HZ, by_rate, utterance, verdict


def rows(**heard: list[float | None]) -> list[dict[str, Any]]:
    return [{"rate_hz": int(rate[1:]), "heard_v2v_ms": ms} for rate, each in heard.items() for ms in each]


def test_the_line_names_each_rates_median() -> None:
    medians = by_rate(rows(_16000=[300.0, 280.0, 900.0], _8000=[310.0], _44100=[340.0], _48000=[319.0]))
    line, holds = verdict(medians)
    assert line == "BENCH rates p50_8k_ms=310.0 p50_16k_ms=300.0 p50_44.1k_ms=340.0 p50_48k_ms=319.0 spread_ms=40.0"
    assert holds


@pytest.mark.parametrize("slow_ms", [320.5, 279.0, None])
def test_a_compared_rate_that_is_slower_or_faster_or_unanswered_fails(slow_ms: float | None) -> None:
    _, holds = verdict(by_rate(rows(_8000=[slow_ms], _16000=[300.0], _48000=[300.0])))
    assert not holds


def test_a_rate_whose_callers_mostly_hear_nothing_has_no_spread() -> None:
    line, holds = verdict(by_rate(rows(_8000=[None, None, 300.0], _16000=[300.0], _48000=[300.0])))
    assert line == "BENCH rates p50_8k_ms=None p50_16k_ms=300.0 p50_48k_ms=300.0 spread_ms=None"
    assert not holds


def test_the_utterance_is_the_same_at_every_rate() -> None:
    for cut in (0.0, 0.2, 0.8):
        lengths_s = [len(utterance(rate_hz, cut)) / rate_hz for rate_hz in RATES_HZ]
        assert lengths_s == pytest.approx([(30 - cut) * 0.02] * len(RATES_HZ), abs=1e-4)
    assert np.abs(utterance(8_000, 0.0)).max() == pytest.approx(np.abs(utterance(48_000, 0.0)).max(), rel=0.02)
