"""The line of troubled calls, and the sounds on it."""

import numpy as np
import pytest

from antiphon_bench.trouble.line import TICK, Echo, Format, Line, Silence, encoded
from antiphon_bench.trouble.sounds import utterance, whisper
from antiphon_bench.wav import Samples

SPEECH = np.full(TICK, 0.3, np.float32)
QUIET = np.zeros(TICK, np.float32)


def sent(line: Line, *ticks: Samples) -> list[int]:
    """The number of frames that each tick sends."""
    return [len(line.tick(line.microphone(tick, QUIET))) for tick in ticks]


def test_a_line_sends_each_tick_and_a_muted_one_nothing() -> None:
    line = Line()
    assert sent(line, SPEECH, QUIET) == [1, 1]
    line.muted = True
    assert sent(line, SPEECH, QUIET) == [0, 0]


def test_dtx_sends_a_frame_each_400_ms_of_silence_or_none() -> None:
    line = Line()
    line.silence = Silence.COMFORT
    counts = sent(line, SPEECH, *[QUIET] * 45)
    assert counts[:6] == [1] * 6
    assert sum(counts[6:]) == 2
    line.silence = Silence.NOTHING
    assert sum(sent(line, *[QUIET] * 45)) == 0
    assert sent(line, SPEECH) == [1]


def test_a_stalled_line_sends_all_at_once_or_loses_it() -> None:
    line = Line()
    line.stall()
    assert sent(line, SPEECH, SPEECH) == [0, 0]
    line.release()
    assert sent(line, SPEECH) == [3]
    line.stall()
    assert sent(line, SPEECH) == [0]
    line.forget()
    assert sent(line, SPEECH) == [1]


def test_bursts_lose_nothing() -> None:
    line = Line()
    line.burst_ticks = 3
    assert sent(line, *[SPEECH] * 6) == [0, 0, 3, 0, 0, 3]


def test_an_echo_comes_back_later_and_quieter() -> None:
    line = Line()
    line.echo = Echo(-20.0, 0.04)
    picked = [line.microphone(QUIET, heard) for heard in (SPEECH, QUIET, QUIET, QUIET)]
    assert [round(float(one.max()), 3) for one in picked] == [0.0, 0.0, 0.03, 0.0]


@pytest.mark.parametrize(
    ("form", "size"),
    [
        (Format(), 640),
        (Format(8_000), 320),
        (Format(48_000, 2), 3840),
        (Format(encoding="float32"), 1280),
        (Format(8_000, 1, "mulaw"), 160),
    ],
)
def test_a_frame_has_the_size_of_its_format(form: Format, size: int) -> None:
    frame = encoded(SPEECH, form)
    assert (len(frame.audio), frame.rate_hz, frame.channels) == (size, form.rate_hz, form.channels)


def test_a_whisper_is_as_loud_as_the_speech_and_the_same_every_time() -> None:
    speech = utterance("yes")
    first, second = whisper(speech), whisper(speech)
    assert np.array_equal(first, second)
    assert np.sqrt(np.mean(first**2)) == pytest.approx(float(np.sqrt(np.mean(speech**2))), rel=0.1)
    assert len(first) == len(speech)
