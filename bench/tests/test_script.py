from pathlib import Path

import numpy as np
import pytest

from antiphon_bench.script import TICK_S, Script, Utterance
from antiphon_bench.testing import tone
from antiphon_bench.wav import to_pcm

QUIET, LOUD = 0.0, 0.3


def utterance(name: str, seconds: float = 1.0) -> Utterance:
    return Utterance.of(Path(name), name, to_pcm(tone(seconds, 16_000)))


class Line:
    """A script on a clock of its own: ticks pass as fast as the test runs."""

    def __init__(self, utterances: list[Utterance], timeout_s: float = 5.0, barge_in_at_s: float | None = None) -> None:
        self.script = Script(utterances, timeout_s, barge_in_at_s)
        self.ticks = 0

    def pass_time(self, seconds: float, heard_peak: float = QUIET) -> int:
        """The number of ticks in which the caller spoke."""
        spoken = 0
        for _ in range(round(seconds / TICK_S)):
            spoken += bool(np.abs(self.script.next(heard_peak)).max() > 100)
            self.ticks += 1
        return spoken

    @property
    def now_s(self) -> float:
        return self.ticks * TICK_S


def turn(number: int, outcome: str = "answered") -> dict[str, object]:
    return {"turn_id": f"turn-{number}", "outcome": outcome}


def ids(line: Line) -> list[list[str]]:
    return [[str(one["turn_id"]) for one in said.turns] for said in line.script.said]


def test_the_caller_says_nothing_before_the_session_and_waits_for_a_greeting() -> None:
    line = Line([utterance("a")])
    assert line.pass_time(3.0) == 0
    line.script.session_began()
    assert line.pass_time(0.6) == 0
    assert line.pass_time(0.2) > 0


def test_a_greeting_is_heard_to_its_end() -> None:
    line = Line([utterance("a")])
    line.script.session_began()
    assert line.pass_time(0.4) == 0
    assert line.pass_time(8.0, LOUD) == 0
    assert line.pass_time(0.4) == 0
    assert line.pass_time(0.3) > 0


def spoken(line: Line, seconds: float = 1.0) -> None:
    line.script.session_began()
    line.pass_time(0.7)
    line.pass_time(seconds + 0.1)


def test_the_next_file_waits_for_the_report_and_for_silence() -> None:
    line = Line([utterance("a"), utterance("b")])
    spoken(line)
    line.pass_time(2.0, LOUD)
    line.script.turn_over(turn(1))
    line.pass_time(0.5, LOUD)
    assert len(line.script.said) == 1
    line.pass_time(0.6)
    assert len(line.script.said) == 2
    line.pass_time(1.0)
    line.script.turn_over(turn(2))
    line.pass_time(0.6)
    assert line.script.done
    assert ids(line) == [["turn-1"], ["turn-2"]]


def test_a_long_answer_is_not_given_up_while_it_is_heard() -> None:
    line = Line([utterance("a")], timeout_s=2.0)
    spoken(line)
    line.pass_time(30.0, LOUD)
    assert not line.script.done
    line.pass_time(2.1)
    assert line.script.done


def test_an_answer_without_end_is_left() -> None:
    line = Line([utterance("a")], timeout_s=2.0)
    spoken(line)
    line.pass_time(123.0, LOUD)
    assert line.script.done


def test_a_turn_over_before_the_file_has_ended_belongs_to_it_but_does_not_end_it() -> None:
    line = Line([utterance("a", seconds=3.0), utterance("b")])
    spoken(line, seconds=1.5)
    line.script.turn_over(turn(1, "interrupted"))
    line.pass_time(1.5 + 2.0)
    assert len(line.script.said) == 1
    line.script.turn_over(turn(2))
    line.pass_time(0.6)
    assert ids(line)[0] == ["turn-1", "turn-2"]
    assert len(line.script.said) == 2


@pytest.mark.parametrize("reported_after_s", [0.1, 1.5])
def test_the_turn_of_an_answer_cut_short_belongs_to_the_question_before(reported_after_s: float) -> None:
    line = Line([utterance("a"), utterance("b")], barge_in_at_s=0.5)
    spoken(line)
    line.pass_time(0.48, LOUD)
    assert len(line.script.said) == 1
    line.pass_time(0.1, LOUD)
    assert len(line.script.said) == 2
    line.pass_time(reported_after_s)
    line.script.turn_over(turn(1, "interrupted"))
    line.pass_time(2.0)
    line.script.turn_over(turn(2))
    line.pass_time(0.6)
    assert ids(line) == [["turn-1"], ["turn-2"]]
    assert line.script.done


def test_a_turn_that_was_never_reported_does_not_take_the_next_ones() -> None:
    line = Line([utterance("a"), utterance("b")], barge_in_at_s=0.5)
    spoken(line)
    line.pass_time(0.6, LOUD)
    line.pass_time(2.0)
    line.script.turn_over(turn(2))
    assert ids(line) == [[], ["turn-2"]]


def test_a_short_answer_is_not_barged_into() -> None:
    line = Line([utterance("a"), utterance("b")], barge_in_at_s=2.0)
    spoken(line)
    line.pass_time(1.0, LOUD)
    line.script.turn_over(turn(1))
    line.pass_time(0.6)
    assert len(line.script.said) == 2
    assert ids(line) == [["turn-1"], []]


def test_the_end_of_speech_is_known_to_the_sample() -> None:
    pcm = np.concatenate([np.zeros(1_600, np.int16), to_pcm(tone(1.0, 16_000)), np.zeros(5_000, np.int16)])
    said = Utterance.of(Path("a.wav"), "a", pcm)
    assert said.speech_end == pytest.approx(17_600, abs=32)
    assert len(said.pcm) % 320 == 0
