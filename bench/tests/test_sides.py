from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench.errors import NotStereo
from antiphon_bench.recording import DEAD_AIR_S, LONGEST_PAUSE_S, Result, analyse, analyse_sides, measure
from antiphon_bench.recording_plot import plot_recording
from antiphon_bench.sides import read_sides
from antiphon_bench.testing import Part, recording, tone
from antiphon_bench.wav import Audio, resampled

RATE = 16_000
TRUE_MS = [400, 900, 120]


def conversation(lead_s: float = 0.5) -> Audio:
    parts, at_s = [], lead_s
    for ms in TRUE_MS:
        parts += [Part(0, at_s, tone(1.0, RATE)), Part(1, at_s + 1.0 + ms / 1000, tone(0.8, RATE, 500.0))]
        at_s += 3.2 + ms / 1000
    return recording(parts, RATE)


def speaks(result: Result) -> list[tuple[float, float]]:
    return [(turn.caller_start_s, turn.caller_end_s) for turn in result.turns]


def latencies(result: Result) -> object:
    assert len(result.turns) == len(TRUE_MS)
    return [turn.v2v_ms for turn in result.turns]


def test_two_mono_files_are_the_two_sides_whatever_their_rates_and_lengths(tmp_path: Path) -> None:
    stereo = conversation().samples
    sf.write(tmp_path / "caller.wav", stereo[:-8000, 0], RATE)
    sf.write(tmp_path / "agent.wav", resampled(stereo[:, 1], RATE, 8_000), 8_000)
    found = measure(tmp_path / "caller.wav", tmp_path / "agent.wav")
    assert latencies(found) == pytest.approx(TRUE_MS, abs=10)


def test_of_two_files_each_must_be_mono(tmp_path: Path) -> None:
    sf.write(tmp_path / "both.wav", conversation().samples, RATE)
    with pytest.raises(NotStereo, match="each must be mono"):
        measure(tmp_path / "both.wav", tmp_path / "both.wav")


@pytest.mark.parametrize("off_s", [0.0, 0.3, -0.3])
def test_a_mono_mix_is_told_apart_by_hints_that_need_not_be_exact(tmp_path: Path, off_s: float) -> None:
    audio = conversation()
    sf.write(tmp_path / "mix.wav", audio.samples.sum(axis=1), RATE)
    hints = [(max(0.0, start + off_s), end + off_s) for start, end in speaks(analyse(audio))]
    found = measure(tmp_path / "mix.wav", caller_speaks=hints)
    assert latencies(found) == pytest.approx(TRUE_MS, abs=10)


def test_a_mono_file_without_hints_says_what_could_be_done(tmp_path: Path) -> None:
    sf.write(tmp_path / "mix.wav", np.zeros(1600, np.float32), RATE)
    with pytest.raises(NotStereo, match="two mono files, or say when the caller speaks"):
        measure(tmp_path / "mix.wav")


def test_leading_silence_moves_everything_and_changes_no_latency() -> None:
    early, late = analyse(conversation(0.5)), analyse(conversation(30.5))
    assert latencies(late) == pytest.approx(latencies(early), abs=0.2)  # type: ignore[call-overload]
    assert speaks(late) == [pytest.approx((start + 30, end + 30), abs=0.001) for start, end in speaks(early)]


def test_silences_are_where_both_are_silent_for_long() -> None:
    parts = [Part(0, 1.0, tone(1.0, RATE)), Part(1, 5.5, tone(1.0, RATE)), Part(0, 8.0, tone(1.0, RATE))]
    found = analyse(recording(parts, RATE, tail_s=5.0))
    assert [(gap.start_s, gap.end_s) for gap in found.silences] == [pytest.approx((2.0, 5.5), abs=0.01)]
    assert analyse(recording(parts, RATE)).to_json()["silences"][0]["start_s"] == pytest.approx(2.0, abs=0.01)


def test_a_recording_is_drawn(tmp_path: Path) -> None:
    sf.write(tmp_path / "call.wav", conversation().samples, RATE)
    sides = read_sides(tmp_path / "call.wav")
    plot_recording(sides, analyse_sides(sides, LONGEST_PAUSE_S, DEAD_AIR_S), tmp_path / "plots/call.png")
    assert (tmp_path / "plots/call.png").read_bytes().startswith(b"\x89PNG")
