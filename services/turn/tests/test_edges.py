"""Where speech begins and pauses, frame by frame. Frames are 10 samples, silences 30, 50 and 90."""

import pytest

from antiphon_turn.edges import Edges, Paused, Rules, Started

RULES = Rules(frame_samples=10, start_frames=3, resume_frames=2, enter=0.5, leave=0.35, complete_at=0.5)


def edges() -> Edges:
    return Edges(RULES, (30, 50, 90))


def hear(edges: Edges, probabilities: list[float]) -> list[Started | Paused]:
    return [edge for probability in probabilities if (edge := edges.hear(probability))]


def test_speech_begins_at_the_first_of_enough_voiced_frames_in_a_row() -> None:
    assert hear(edges(), [0, 1, 1, 0, 0.5, 0.6, 0.7]) == [Started(40)]


def test_before_speech_a_frame_between_the_thresholds_is_no_voice() -> None:
    assert hear(edges(), [1, 1, 0.4, 1, 1, 0.49]) == []


def test_a_pause_is_reported_once_when_the_first_silence_is_reached() -> None:
    assert hear(edges(), [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]) == [Started(0), Paused(40, 30)]


def test_speech_that_wavers_between_the_thresholds_goes_on() -> None:
    assert hear(edges(), [1, 1, 1, *[0.4] * 20]) == [Started(0)]


def test_silence_begins_at_the_first_frame_below_the_lower_threshold_and_only_the_upper_ends_it() -> None:
    assert hear(edges(), [1, 1, 1, 0.34, 0.4, 0.4]) == [Started(0), Paused(30, 30)]
    assert hear(edges(), [1, 1, 1, 0, 0, 0.5, 0, 0]) == [Started(0)]


def test_a_gap_shorter_than_the_first_silence_is_no_pause() -> None:
    assert hear(edges(), [1, 1, 1, 0, 0, 1, 0, 0, 1]) == [Started(0)]


def test_in_a_pause_with_verdicts_to_come_less_voice_resumes_speech() -> None:
    assert hear(edges(), [1, 1, 1, 0, 0, 0, 1, 1]) == [Started(0), Paused(30, 30), Started(60)]


def test_once_every_silence_is_judged_speech_must_begin_anew() -> None:
    heard = edges()
    hear(heard, [1, 1, 1, *[0] * 9])
    assert heard.due(120) == [0, 1, 2]
    assert hear(heard, [1, 1]) == []
    assert hear(heard, [1]) == [Started(120)]


def test_each_silence_is_due_once_as_soon_as_its_last_sample_is_in() -> None:
    heard = edges()
    assert heard.due(0) == []
    hear(heard, [1, 1, 1, 0, 0, 0])
    assert [heard.due(at) for at in (60, 60, 79, 80, 81, 119, 1000)] == [[0], [], [], [1], [], [], [2]]


def test_nothing_is_due_while_speech_goes_on_or_once_it_has_resumed() -> None:
    heard = edges()
    hear(heard, [1, 1, 1, 0, 0])
    assert heard.due(1000) == []
    hear(heard, [0, 1, 1])
    assert heard.due(1000) == []


def test_nothing_is_due_while_a_voiced_frame_may_become_speech() -> None:
    heard = edges()
    hear(heard, [1, 1, 1, 0, 0, 0, 0, 1])
    assert heard.due(80) == []
    hear(heard, [0])
    assert heard.due(90) == [0, 1]


def test_a_settled_pause_has_no_more_verdicts() -> None:
    heard = edges()
    hear(heard, [1, 1, 1, 0, 0, 0])
    assert heard.due(60) == [0]
    heard.settle()
    assert heard.due(1000) == []


@pytest.mark.parametrize("frames", [1, 2])
def test_too_little_voice_neither_begins_speech_nor_moves_a_pause(frames: int) -> None:
    assert hear(edges(), [*[1] * frames, 0, 0, 0, 0]) == []
    heard = edges()
    hear(heard, [1, 1, 1, 0, 0, 0, 1, 0, 0])
    assert heard.due(90) == [0, 1]
