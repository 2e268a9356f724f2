"""What the model reads: tokens in parts, whose words they are, and numbers written out."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from antiphon_tts.backends.magpie.normalizing import MOST_CHARS, guarded, is_plain
from antiphon_tts.backends.magpie.text import Language, Part, Reader
from antiphon_tts.cleaning import clean

END = 99


def letters(text: str, tokenizer: str) -> Sequence[int]:
    """A token for each letter and space; fails on what is cursed."""
    if "§" in text:
        raise KeyError("§")
    return [ord(char.lower()) - ord("a") if char != " " else 30 for char in text if char.isalpha() or char == " "]


def reader(*, most_tokens: int = 64, spaced: bool = True, normalize: object = None) -> Reader:
    return Reader(letters, END, {"en-US": Language("english", normalize, spaced=spaced)}, most_tokens)  # type: ignore[arg-type]


def read(text: str, **how: object) -> list[Part]:
    return reader(**how).read(clean(text), "en-US")  # type: ignore[arg-type]


def test_words_have_the_tokens_that_they_became() -> None:
    (part,) = read("One two three")
    assert part.tokens == (*letters("one two three", ""), END)
    assert part.words == (("One", 0, 4), ("two", 4, 8), ("three", 8, 13))


@pytest.mark.parametrize("most_tokens", [32, 33, 64, 200])
def test_no_part_is_longer_than_it_may_be_and_none_of_the_text_is_lost(most_tokens: int) -> None:
    text = " ".join(f"{'abcdefghij'[: n % 10 + 1]}" for n in range(40)) + " " + "x" * 300
    parts = read(text, most_tokens=most_tokens)
    assert all(len(part.tokens) <= most_tokens and part.tokens[-1] == END for part in parts)
    said = [token for part in parts for token in part.tokens[:-1] if token != 30]
    assert said == [token for token in letters(text, "") if token != 30]
    assert "".join(word for part in parts for word, _, _ in part.words) == text.replace(" ", "")
    for part in parts:
        edges = [0, *(edge for _, *word in part.words for edge in word)]
        assert edges == sorted(edges) and edges[-1] <= len(part.tokens) - 1


def test_characters_that_the_tokenizer_fails_on_are_left_out() -> None:
    (part,) = read("One§ two")
    assert part.tokens[:-1] == tuple(letters("One two", ""))
    assert read("§ two §")[0].tokens == read("two")[0].tokens
    assert read("§1§") == [] and read("12 34") == []


def test_a_language_without_spaces_is_read_without_them() -> None:
    (part,) = read("ab cd", spaced=False)
    assert part.tokens == (0, 1, 2, 3, END)
    assert part.words == (("abcd", 0, 4),)


def test_what_was_written_out_is_what_is_read() -> None:
    (part,) = read("It is 3.", normalize=guarded(lambda text: text.replace("3", "three")))
    assert [word for word, _, _ in part.words] == ["It", "is", "three."]


@pytest.mark.parametrize("text", ["Hello there.", "Well, yes - no?", "It’s “fine”!", "Grüß Gott.", "你好", ""])
def test_plain_texts_cost_no_normalizing(text: str) -> None:
    assert is_plain(text)
    assert guarded(lambda text: pytest.fail("normalized"))(text) == text


@pytest.mark.parametrize("text", ["It is 3", "Dr. Smith", "50%", "$5", "e.g. this", "a@b", "I met Dr.", "x = y", "²"])
def test_texts_that_may_need_it_are_not_plain(text: str) -> None:
    assert not is_plain(text)


def test_a_text_that_cannot_be_normalized_stays_as_it_is() -> None:
    def broken(text: str) -> str:
        raise RuntimeError("composition failed")

    assert guarded(broken)("It is 3") == "It is 3"
    assert guarded(lambda text: " ")("It is 3") == "It is 3"
    assert guarded(lambda text: pytest.fail("normalized"))("3" * (MOST_CHARS + 1)) == "3" * (MOST_CHARS + 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nvidias_grammars_write_out_what_people_write() -> None:
    pytest.importorskip("nemo_text_processing")
    from nasty import nasty

    from antiphon_tts.backends.magpie.normalizing import load_normalizer

    normalize = load_normalizer("en", Path("~/.cache/antiphon/grammars").expanduser())
    assert normalize is not None
    said = normalize("Dr. Smith paid $9.99 on 3/4/2024 at 7:30 p.m. for 1,234 items, 25% off.").lower()
    for words in ("doctor smith", "nine dollars", "twenty twenty four", "seven thirty", "thirty four items", "percent"):
        assert words in said, said
    assert normalize("I am the 3rd of 12.") == "I am the third of twelve."
    assert all(normalize(text) or not text for text in nasty(60))
