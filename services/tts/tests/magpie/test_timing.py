"""When written words are heard, from where the words that were read begin: no model needed."""

from antiphon_tts.backends.magpie.timing import WordTimes
from antiphon_tts.cleaning import clean


def test_a_word_is_told_once_its_end_is_known() -> None:
    times = WordTimes(clean("One two three."), ["One", "two", "three."])
    times.begins(0)
    assert list(times.said()) == []
    times.begins(100)
    assert list(times.said()) == [("One", 0, 100)]
    assert list(times.said()) == []
    times.begins(250)
    times.ended(400)
    assert list(times.said()) == [("two", 100, 250), ("three.", 250, 400)]


def test_a_word_that_is_read_as_several_lasts_as_long_as_these() -> None:
    times = WordTimes(clean("It costs $5 now."), ["It", "costs", "five", "dollars", "now."])
    for at in (0, 10, 30, 60, 100):
        times.begins(at)
    times.ended(120)
    assert list(times.said()) == [("It", 0, 10), ("costs", 10, 30), ("$5", 30, 100), ("now.", 100, 120)]


def test_places_never_go_back_and_what_is_never_reached_is_at_the_end() -> None:
    times = WordTimes(clean("One two three four"), ["One", "two", "three", "four"])
    times.begins(50)
    times.begins(20)
    times.ended(70)
    said = list(times.said())
    assert said == [("One", 50, 50), ("two", 50, 70), ("three", 70, 70), ("four", 70, 70)]
    times.begins(900)
    assert times.known == 5


def test_a_text_read_in_other_words_shares_the_time() -> None:
    times = WordTimes(clean("A B"), ["x", "y", "z"])
    for at in (0, 30, 60):
        times.begins(at)
    times.ended(90)
    (a, a_from, a_to), (b, b_from, b_to) = times.said()
    assert (a, b, a_from, b_to) == ("A", "B", 0, 90)
    assert a_to == b_from == 45
