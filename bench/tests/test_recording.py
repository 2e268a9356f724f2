import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr

from antiphon_bench.errors import AudioError, EmptyAudio, NoSamples, NotStereo, NotWav, UnreadableAudio
from antiphon_bench.recording import Outcome, analyse, measure
from antiphon_bench.speech import Segment, find_speech
from antiphon_bench.testing import Part, recording, tone
from antiphon_bench.wav import Samples

GAPS_S = [0.12, 0.25, 0.5, 0.8, 1.3, 2.0]
RATES_HZ = [8_000, 16_000, 24_000, 48_000]


def conversation(
    questions: list[Samples], answers: list[Samples], rate_hz: int
) -> tuple[list[Part], list[tuple[float, ...]]]:
    """One turn per gap, and each turn's true caller start and end, agent start and end."""
    parts, edges, at = [], [], 0.4
    for gap, said, reply in zip(GAPS_S, itertools.cycle(questions), itertools.cycle(answers), strict=False):
        end = at + len(said) / rate_hz
        start = end + gap
        parts += [Part(0, at, said), Part(1, start, reply)]
        edges.append((at, end, start, start + len(reply) / rate_hz))
        at = edges[-1][-1] + 1.3
    return parts, edges


def found_edges(parts: list[Part], rate_hz: int, noise_dbfs: float | None) -> list[tuple[float | None, ...]]:
    result = analyse(recording(parts, rate_hz, noise_dbfs))
    assert [turn.v2v_ms for turn in result.turns] == [
        pytest.approx(((turn.agent_start_s or 0) - turn.caller_end_s) * 1000, abs=0.2) for turn in result.turns
    ]
    return [(turn.caller_start_s, turn.caller_end_s, turn.agent_start_s, turn.agent_end_s) for turn in result.turns]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(
    ("noise_dbfs", "within_s"), [(None, 0.002), (-70, 0.002), (-60, 0.005), (-50, 0.010), (-40, 0.015)]
)
def test_the_edges_of_tones_are_found_under_noise(rate_hz: int, noise_dbfs: float | None, within_s: float) -> None:
    parts, edges = conversation([tone(1.2, rate_hz)], [tone(0.8, rate_hz, 500.0)], rate_hz)
    assert found_edges(parts, rate_hz, noise_dbfs) == [pytest.approx(turn, abs=within_s) for turn in edges]


@pytest.fixture(scope="module")
def spoken() -> list[Samples]:
    """A question and an answer by a real voice at 24 kHz, cut where it falls for good under -36 dB of its peak."""
    hibari = pytest.importorskip("hibari")
    voice = hibari.Hibari()
    texts = ["What is the capital of Italy?", "You asked about Italy, which has many hills."]
    return [trimmed(voice(text, seed=1)) for text in texts]


def trimmed(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) >= np.abs(samples).max() * 10 ** (-36 / 20))
    return samples[loud[0] : loud[-1] + 1]


@pytest.mark.real
@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("noise_dbfs", [None, -70])
def test_the_edges_of_speech_are_found_within_10_ms(
    spoken: list[Samples], rate_hz: int, noise_dbfs: float | None
) -> None:
    question, answer = (trimmed(soxr.resample(speech, 24_000, rate_hz)) for speech in spoken)
    parts, edges = conversation([question], [answer], rate_hz)
    assert found_edges(parts, rate_hz, noise_dbfs) == [pytest.approx(turn, abs=0.010) for turn in edges]


@pytest.mark.real
def test_noise_that_hides_the_end_of_a_word_never_makes_the_agent_look_faster(spoken: list[Samples]) -> None:
    question, answer = spoken
    parts, edges = conversation([question], [answer], 24_000)
    for found, true in zip(found_edges(parts, 24_000, -50), edges, strict=True):
        assert found[1] is not None
        assert found[2] is not None
        assert found[2] - found[1] >= true[2] - true[1] - 0.001


def test_noise_in_a_file_that_is_played_into_silence_is_not_speech() -> None:
    noisy = np.random.default_rng(3).normal(0, 10 ** (-50 / 20), 2 * 16_000).astype(np.float32)
    noisy[8_000:16_000] += tone(0.5, 16_000)
    result = analyse(recording([Part(0, 1.0, noisy), Part(1, 2.6, tone(0.5, 16_000))], 16_000))
    assert [turn.v2v_ms for turn in result.turns] == [pytest.approx(600, abs=10)]
    assert result.caller.threshold.noise_floor_dbfs == pytest.approx(-50, abs=1.5)


@pytest.mark.real
def test_speech_without_a_pause_is_not_taken_for_noise(spoken: list[Samples]) -> None:
    for samples in spoken:
        speech = find_speech(samples, 24_000)
        assert speech.segments == (Segment(0, len(samples)),)


@pytest.mark.parametrize("noise_dbfs", [None, -60, -40])
def test_a_channel_of_nothing_but_noise_holds_no_speech(noise_dbfs: float | None) -> None:
    result = analyse(recording([Part(0, 1.0, tone(1.0, 16_000))], 16_000, noise_dbfs))
    assert result.agent.segments == 0
    assert [turn.outcome for turn in result.turns] == [Outcome.UNANSWERED]
    assert (result.summary.unanswered, result.summary.v2v.p50_ms, result.summary.v2v.missing) == (1, None, 1)


def test_clicks_are_not_speech_and_do_not_move_its_edges() -> None:
    click = np.full(16, 0.5, np.float32)
    parts = [Part(0, 0.5, tone(1.0, 16_000)), Part(1, 0.8, click), Part(1, 1.9, click), Part(1, 2.0, tone(1, 16_000))]
    result = analyse(recording(parts, 16_000))
    assert [turn.v2v_ms for turn in result.turns] == [pytest.approx(500, abs=10)]


def test_a_pause_inside_a_turn_does_not_end_it() -> None:
    word, reply = tone(0.5, 16_000), tone(1.0, 16_000)
    parts = [Part(0, 0.5, word), Part(0, 2.0, word), Part(1, 3.0, reply), Part(1, 4.5, reply), Part(0, 6.0, word)]
    result = analyse(recording(parts, 16_000))
    first, second = result.turns
    assert (first.caller_start_s, first.caller_end_s) == (pytest.approx(0.5, abs=0.01), pytest.approx(2.5, abs=0.01))
    assert (first.v2v_ms, first.agent_end_s) == (pytest.approx(500, abs=10), pytest.approx(5.5, abs=0.01))
    assert second.outcome is Outcome.UNANSWERED


def test_a_question_left_hanging_is_not_lost_in_the_next_turn() -> None:
    parts = [Part(0, 0.5, tone(0.5, 16_000)), Part(0, 6.0, tone(0.5, 16_000)), Part(1, 7.0, tone(0.5, 16_000))]
    result = analyse(recording(parts, 16_000))
    assert [turn.outcome for turn in result.turns] == [Outcome.UNANSWERED, Outcome.ANSWERED]
    # The median turn was answered in half a second; the worst never was, and that is what p95 says.
    assert result.summary.v2v.p50_ms == pytest.approx(500, abs=10)
    assert (result.summary.v2v.p95_ms, result.summary.v2v.max_ms) == (None, None)


def test_an_agent_that_talks_over_the_caller_gets_no_latency_for_it() -> None:
    result = analyse(recording([Part(0, 0.5, tone(2.0, 16_000)), Part(1, 1.5, tone(3.0, 16_000))], 16_000))
    (turn,) = result.turns
    assert (turn.outcome, turn.v2v_ms) == (Outcome.TALKED_OVER, None)
    (overlap,) = result.overlaps
    assert (overlap.start_s, overlap.end_s) == (pytest.approx(1.5, abs=0.01), pytest.approx(2.5, abs=0.01))
    assert (result.summary.talked_over, result.summary.answered) == (1, 0)


def test_a_barge_in_is_timed_until_the_agent_is_silent() -> None:
    parts = [
        Part(0, 0.5, tone(1.0, 16_000)),
        Part(1, 2.0, tone(2.35, 16_000)),
        Part(0, 4.0, tone(1.5, 16_000)),
        Part(1, 6.25, tone(1.0, 16_000)),
    ]
    result = analyse(recording(parts, 16_000))
    (barge_in,) = result.barge_ins
    assert (barge_in.turn, barge_in.at_s) == (2, pytest.approx(4.0, abs=0.01))
    assert barge_in.silent_after_ms == pytest.approx(350, abs=10)
    assert [turn.v2v_ms for turn in result.turns] == [pytest.approx(500, abs=10), pytest.approx(750, abs=10)]


def test_a_greeting_is_nobodys_answer() -> None:
    parts = [Part(1, 0.2, tone(1.0, 16_000)), Part(0, 2.0, tone(1.0, 16_000)), Part(1, 3.4, tone(1.0, 16_000))]
    assert [turn.v2v_ms for turn in analyse(recording(parts, 16_000)).turns] == [pytest.approx(400, abs=10)]


def test_the_percentiles_are_those_of_the_turns() -> None:
    parts, _ = conversation([tone(0.5, 16_000)], [tone(0.5, 16_000)], 16_000)
    latencies = analyse(recording(parts, 16_000)).summary.v2v
    assert latencies.count == len(GAPS_S)
    assert latencies.p50_ms == pytest.approx(500, abs=10)
    assert latencies.p95_ms == latencies.max_ms == pytest.approx(2000, abs=10)


def test_a_recording_of_nothing_has_no_turns() -> None:
    result = analyse(recording([], 16_000))
    assert (result.turns, result.summary.v2v.count, result.duration_s) == ((), 0, 1.0)


def test_a_file_is_measured_and_its_result_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    audio = recording([Part(0, 0.5, tone(1.0, 16_000)), Part(1, 2.0, tone(1.0, 16_000))], 16_000)
    sf.write(path, audio.samples, 16_000)
    data = json.loads(json.dumps(measure(path).to_json()))
    assert data["turns"][0]["outcome"] == "answered"
    assert data["turns"][0]["v2v_ms"] == pytest.approx(500, abs=10)
    assert data["caller"]["threshold"]["threshold_dbfs"] < data["caller"]["threshold"]["speech_dbfs"]


def write_text(path: Path) -> None:
    path.write_text("this is no recording\n" * 10)


def write_nothing(path: Path) -> None:
    path.touch()


def write_no_samples(path: Path) -> None:
    sf.write(path, np.zeros((0, 2), np.float32), 16_000)


def write_mono(path: Path) -> None:
    sf.write(path, np.zeros(16_000, np.float32), 16_000)


def write_flac(path: Path) -> None:
    sf.write(path, np.zeros((16_000, 2), np.float32), 16_000, format="FLAC")


def make_folder(path: Path) -> None:
    path.mkdir()


def leave_out(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (write_text, NotWav, "not a WAV"),
        (write_flac, NotWav, "FLAC"),
        (write_nothing, EmptyAudio, "empty"),
        (write_no_samples, NoSamples, "without a single sample"),
        (write_mono, NotStereo, "mono, but a recording needs two channels: the caller left, the agent right"),
        (make_folder, UnreadableAudio, "a folder"),
        (leave_out, UnreadableAudio, "No such file"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(
    write: Callable[[Path], None], error: type[AudioError], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "call.wav"
    write(path)
    with pytest.raises(error, match=words) as refused:
        measure(path)
    assert str(path) in str(refused.value)
