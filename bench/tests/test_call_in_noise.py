"""A call finds in its recording what `measure` finds, whatever noise the files bring."""

from itertools import pairwise

import numpy as np
import pytest

from antiphon_bench.call import call_turns
from antiphon_bench.recording import Result, analyse
from antiphon_bench.script import TICK_S, Said, Utterance
from antiphon_bench.testing.spoken import FOLDERS, voice
from antiphon_bench.wav import CALL_RATE_HZ, Audio, Samples, load_call_audio, resampled, to_pcm

RECORDED_HZ = 24_000
V2V_S = 1.0
FILES = sorted(path for folder in FOLDERS for path in folder.glob("*.wav"))[:10]


def noise(kind: str, count: int, dbfs: float, draw: np.random.Generator) -> Samples:
    white = draw.normal(0.0, 1.0, count)
    if kind == "rumbling":
        hz = np.fft.rfftfreq(count, 1 / CALL_RATE_HZ)
        white = np.fft.irfft(np.fft.rfft(white) / np.maximum(hz, 20.0), count)
    result: Samples = (white / white.std() * 10 ** (dbfs / 20)).astype(np.float32)
    return result


def call_in_noise(kind: str, dbfs: float, rate_hz: int, gain: float, pad_s: float) -> tuple[list[Said], Result]:
    """Ten files with noise in them, played into digital silence, each answered a second after its last sound."""
    draw = np.random.default_rng(1)
    said: list[Said] = []
    left, answers, at_tick = [np.zeros(CALL_RATE_HZ, np.float32)], [], 50
    for path in FILES:
        pad = round(pad_s * CALL_RATE_HZ)
        clean = np.pad(load_call_audio(path).astype(np.float32) / 32768.0 * gain, (pad, pad))
        noisy = clean + noise(kind, len(clean), dbfs, draw)
        if rate_hz != CALL_RATE_HZ:
            noisy = resampled(resampled(noisy, CALL_RATE_HZ, rate_hz), rate_hz, CALL_RATE_HZ)[: len(clean)]
        utterance = Utterance.of(path, "", to_pcm(noisy))
        said.append(Said(utterance, at_tick))
        loud = np.flatnonzero(np.abs(clean) > np.abs(clean).max() * 0.01)
        answers.append(at_tick * TICK_S + loud[-1] / CALL_RATE_HZ + V2V_S)
        left += [utterance.pcm.astype(np.float32) / 32768.0, np.zeros(5 * CALL_RATE_HZ, np.float32)]
        at_tick += len(utterance.pcm) // round(TICK_S * CALL_RATE_HZ) + round(5 / TICK_S)
    caller = resampled(np.concatenate(left), CALL_RATE_HZ, RECORDED_HZ)
    agent, answer = np.zeros_like(caller), voice("train", RECORDED_HZ) * 0.5
    for at_s in answers:
        start = round(at_s * RECORDED_HZ)
        agent[start : start + len(answer)] += answer
    return said, analyse(Audio(np.stack([caller, agent], axis=1), RECORDED_HZ))


@pytest.mark.parametrize("rate_hz", [16_000, 8_000])
@pytest.mark.parametrize(
    ("kind", "dbfs", "gain", "pad_s"),
    [
        ("white", -60.0, 1.0, 0.3),
        ("white", -45.0, 1.0, 0.3),
        ("white", -45.0, 0.25, 1.0),
        ("white", -35.0, 1.0, 1.0),
        ("rumbling", -45.0, 0.25, 0.6),
        ("rumbling", -45.0, 1.0, 1.0),
        ("rumbling", -35.0, 1.0, 1.0),
    ],
)
def test_a_call_finds_every_turn_that_its_recording_has(
    kind: str, dbfs: float, rate_hz: int, gain: float, pad_s: float
) -> None:
    said, measured = call_in_noise(kind, dbfs, rate_hz, gain, pad_s)
    turns = call_turns(said, measured)
    assert [turn.heard_v2v_ms for turn in turns] == [turn.v2v_ms for turn in measured.turns]
    # Under noise the last sound of a word is lost, which never makes an answer look sooner.
    found = [turn.heard_v2v_ms or 0.0 for turn in turns]
    assert [ms for ms in found if not V2V_S * 1000 - 60 <= ms <= V2V_S * 1000 + 350] == []
    assert measured.summary.dead_air == 0


def test_the_files_do_not_overlap() -> None:
    said, _ = call_in_noise("white", -60.0, 16_000, 1.0, 0.3)
    assert all(before.end_s < after.start_s for before, after in pairwise(said))
