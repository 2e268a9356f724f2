"""Where text is cut."""

import random

import pytest

from antiphon_tts.segments import Cut, Limits, Segmenter, count_words, ending

TEXTS = [
    "Sure, I can help. Dr. Smith is here, e.g. at 10:30; pi is 3.14!",
    "It costs $1,000.50 today, vs. $5. See https://x.com/a,b.c?d=e. Then call me. No. No. 5 is fine.",
    "In the U.S. He left... well... maybe. The U.S. Army came at 5 p.m. Please come etc. And go.",
    "1. First thing\n2. Second thing\n\n- **Bold!** text, <b class='a, b'>tag</b>.\n```python\nprint(1)\n```\n",
    "你好，世界。我们走吧！Really?! “Yes.” she said… (Go.) J. K. Rowling wrote it — truly—yes.",
    "word " * 300,
    "x" * 1000 + " y" * 200,
    "🎉🎉 🎉 hello 🎉. 👍🏽",
    "",
    " \n \n ",
    "." * 500,
    "I would be happy to help you with that question about the weather in the place where you live now",
]


def whole(text: str, limits: Limits | None = None) -> list[str]:
    segmenter = Segmenter(limits or Limits())
    return segmenter.feed(text) + segmenter.flush()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", range(20))
def test_the_cuts_do_not_depend_on_the_pieces_and_join_to_the_text(text: str, seed: int) -> None:
    rng, segmenter, at, segments = random.Random(seed), Segmenter(Limits()), 0, []
    while at < len(text):
        step = rng.choice((1, 1, 2, 3, 7, 40))
        segments += segmenter.feed(text[at : at + step])
        at += step
    segments += segmenter.flush()
    assert segments == whole(text)
    assert "".join(segments) == text
    assert all(0 < len(segment) <= 200 for segment in segments)


def test_random_text_of_marks_and_words_is_cut_alike_in_any_pieces() -> None:
    rng = random.Random(0)
    marks = ["3", ".", ",", "!", "?", "…", "\n", " ", " ", "—", "。", '"', ")", "<b", ">", "*"]
    parts = ["a", "No", "U.S", "etc", "e.g", "14", "He", "🙂", *marks]
    for _ in range(1500):
        text = "".join(rng.choices(parts, k=rng.randint(1, 60)))
        segmenter = Segmenter(Limits(max_chars=30))
        one_by_one = [segment for char in text for segment in segmenter.feed(char)] + segmenter.flush()
        assert one_by_one == whole(text, Limits(max_chars=30)), text
        assert "".join(one_by_one) == text


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("Yes. I can.", ["Yes.", " I can."]),
        ("No. I cannot. No. 5 is it.", ["No.", " I cannot.", " No. 5 is it."]),
        ("Dr. Smith is in. He waits.", ["Dr. Smith is in.", " He waits."]),
        ("Take e.g. a fork. Eat.", ["Take e.g. a fork.", " Eat."]),
        ("Pi is 3.14. Fine.", ["Pi is 3.14.", " Fine."]),
        ("It is $1,000.50 now. Fine.", ["It is $1,000.50 now.", " Fine."]),
        ("Come at 10:30. Fine.", ["Come at 10:30.", " Fine."]),
        ("Cats vs. dogs. Fine.", ["Cats vs. dogs.", " Fine."]),
        ("See https://x.com/a.b,c?d=e. Fine.", ["See https://x.com/a.b,c?d=e.", " Fine."]),
        ("In the U.S. He left.", ["In the U.S.", " He left."]),
        ("The U.S. Army left. Fine.", ["The U.S. Army left.", " Fine."]),
        ("It is 5 p.m. Please come.", ["It is 5 p.m.", " Please come."]),
        ("Well... maybe. Fine.", ["Well... maybe.", " Fine."]),
        ("1. First\n2. Second", ["1. First\n", "2. Second"]),
        ("J. K. Rowling. Fine.", ["J. K. Rowling.", " Fine."]),
        ("So do I. Fine.", ["So do I.", " Fine."]),
        ("Really?! Fine.", ["Really?!", " Fine."]),
        ("“Stop.” He ran.", ["“Stop.”", " He ran."]),
        ("**Stop.** He ran.", ["**Stop.**", " He ran."]),
        ("你好。世界！", ["你好。", "世界！"]),
        ("<a href='x, y z, w'>Go there</a>, now", ["<a href='x, y z, w'>Go there</a>,", " now"]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, segments: list[str]) -> None:
    assert whole(text) == segments


def test_the_first_clause_has_a_few_words_and_later_segments_are_sentences() -> None:
    text = "Well, of course, I can do that, yes. Then, after that, we go, and so on."
    assert whole(text) == ["Well, of course,", " I can do that, yes.", " Then, after that, we go, and so on."]


def test_without_a_mark_the_first_segment_ends_before_a_phrase() -> None:
    text = "I would be happy to help you with that question"
    assert whole(text) == ["I would be happy to help you", " with that question"]
    assert whole("one two three four five six seven eight nine") == ["one two three four five six seven eight", " nine"]


def test_a_mark_at_the_end_waits_for_what_decides_it() -> None:
    segmenter = Segmenter(Limits())
    assert segmenter.feed("It is about 3.") == []
    assert segmenter.feed("14.") == []
    assert segmenter.feed(" ") == ["It is about 3.14."]
    assert segmenter.feed("Good.") == []
    assert segmenter.flush() == [" Good."]


def test_a_long_sentence_is_cut_at_its_last_clause() -> None:
    text = "Yes. " + "a few words, " * 30
    segments = whole(text)
    assert segments[1].endswith("words,")
    assert 150 < len(segments[1]) <= 200


def test_whole_text_waits_for_the_flush_and_has_no_first_clause() -> None:
    segmenter = Segmenter(Limits(), whole=True)
    assert segmenter.feed("Now then, my friend, hello. Go") == []
    assert segmenter.flush() == ["Now then, my friend, hello.", " Go"]


def test_words_are_counted_with_and_without_spaces() -> None:
    assert count_words("it's 3.14, - 🙂 ok") == 3
    assert count_words("你好世界") == 2


@pytest.mark.parametrize(
    ("text", "cut"),
    [("a,", Cut.CLAUSE), ("a.", Cut.SENTENCE), ('a?" ', Cut.SENTENCE), ("a\n", Cut.SENTENCE), ("a, b", Cut.NONE)],
)
def test_the_end_of_a_segment_names_its_pause(text: str, cut: Cut) -> None:
    assert ending(text) is cut
