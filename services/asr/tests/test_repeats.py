"""A repetition in a decoded text is kept when the audio has it, and dropped when the decoder made it up."""

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnxruntime")

from antiphon_asr.backends.moonshine.repeats import find_repeat, text_without_loops  # noqa: E402

RATE = 16_000
QUESTION = "How many talks are in the evals track?"


def spoken(*texts: str):
    """A clip with a second of sound and a gap for each text. Its samples tell which."""
    parts = []
    for number, _ in enumerate(texts, 1):
        parts += [np.full(RATE, number / 10, np.float32), np.zeros(RATE // 2, np.float32)]
    return np.concatenate(parts)


def hears(*texts: str, loops: int = 1):
    """Decodes clips of `spoken`: what at least half of a second tells, each said `loops` times in a whole clip."""

    def decode(samples) -> str:
        found = []
        for number, text in enumerate(texts, 1):
            count = int(np.isclose(samples, number / 10).sum())
            if count >= 0.9 * RATE:
                found += [text] * loops
            elif count > 0.1 * RATE:
                words = text.split()
                found.append(" ".join(words[: round(len(words) * count / RATE)]))
        return " ".join(found)

    return decode


def test_a_question_that_the_decoder_repeats_is_heard_once() -> None:
    clip = np.concatenate([spoken(QUESTION), np.zeros(RATE, np.float32)])
    assert text_without_loops(clip, hears(QUESTION, loops=2)) == QUESTION
    assert text_without_loops(clip, hears(QUESTION, loops=5)) == QUESTION


def test_a_question_that_is_said_twice_stays_twice() -> None:
    clip = spoken(QUESTION, QUESTION)
    assert text_without_loops(clip, hears(QUESTION, QUESTION)) == f"{QUESTION} {QUESTION}"


def test_digits_that_are_dictated_twice_stay_twice() -> None:
    said = ("four two seven", "four two seven")
    assert text_without_loops(spoken(*said), hears(*said)) == "four two seven four two seven"


def test_what_comes_before_and_after_a_loop_stays() -> None:
    clip = spoken("Yes.")
    looped = "Yes. I want to go I want to go now."
    assert (
        text_without_loops(clip, lambda part: looped if len(part) == len(clip) else "Yes.") == "Yes. I want to go now."
    )


def test_a_decoder_that_gives_up_in_the_middle_gives_no_text() -> None:
    texts = iter([f"{QUESTION} {QUESTION}", None])
    assert text_without_loops(spoken(QUESTION), lambda _: next(texts)) is None
    assert text_without_loops(spoken(QUESTION), lambda _: None) is None


@pytest.mark.parametrize(
    "text",
    ["", "No, no, no.", "very very good", "five five five five", "that that is is", "We do what we do.", QUESTION],
)
def test_ordinary_speech_is_no_repetition(text: str) -> None:
    assert find_repeat(text.split()) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("How many are there? How many are there?", (0, 4, 2, 8)),
        ("a little bit of a little bit of a little bit", (0, 4, 3, 11)),
        ("the top of the top of the top of", (0, 3, 3, 9)),
        ("Well, what is this? What is this? Tell me.", (1, 3, 2, 7)),
    ],
)
def test_repetitions_are_found_with_their_incomplete_last_copy(text: str, found: tuple[int, ...]) -> None:
    repeat = find_repeat(text.split())
    assert repeat is not None
    assert (repeat.start, repeat.length, repeat.copies, repeat.end) == found
