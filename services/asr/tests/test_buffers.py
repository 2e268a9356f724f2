"""What a Moonshine stream holds, however long it lasts."""

import pytest
from asr_caller import RATE, silence

np = pytest.importorskip("numpy")
decoder = pytest.importorskip("antiphon_asr.backends.moonshine.decoder", reason="needs the extra cpu")
speech = pytest.importorskip("antiphon_asr.backends.moonshine.speech")
tape = pytest.importorskip("antiphon_asr.backends.tape")
worker = pytest.importorskip("antiphon_asr.backends.moonshine.worker")


def test_a_tape_holds_the_newest_samples_at_their_positions() -> None:
    held = tape.Tape(keep=100)
    for start in range(0, 1000, 10):
        held.push(np.arange(start, start + 10, dtype=np.int16))
        assert held.end - held.start <= 150
    assert held.start <= 900
    assert (held.clip(900, 1000) * 32768).tolist() == list(range(900, 1000))


def test_a_listener_measures_the_same_frames_whatever_the_chunks() -> None:
    samples = (np.random.default_rng(0).normal(size=RATE) * 1000).astype(np.int16)
    whole, split = speech.Listener(keep=RATE), speech.Listener(keep=RATE)
    whole.push(samples)
    for chunk in np.split(samples, [1, 319, 320, 321, 7777]):
        split.push(chunk)
    assert whole.between(0, RATE) == split.between(0, RATE)
    assert whole.between(100, 1000) == (320, whole.between(0, RATE)[1][1:3])


async def test_ten_minutes_of_silence_grow_nothing() -> None:
    idle = worker.Worker()
    quiet = decoder.MoonshineDecoder(None, idle, interims=True)
    for _ in range(600):
        await quiet.push(silence(RATE))
    assert quiet._tape.end == 600 * RATE
    assert quiet._tape.end - quiet._tape.start <= 1.5 * decoder.KEEP
    assert len(quiet._listener) <= decoder.KEEP / speech.FRAME
    assert len(quiet._pieces) == 1
    assert not quiet._readings and not quiet._latest
    assert all(work.runs == 0 for work in idle.work().values())
    quiet.close()
    idle.close()
