"""What is said of what is written."""

import pytest

from antiphon_tts.cleaning import clean


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Bold** and _this_ `code`, ~~gone~~", "Bold and this code, gone"),
        ("# Title", "Title"),
        ("> - item", "item"),
        ("<b>Hello</b><br>there <!-- no -->", "Hello there"),
        ('[the page](https://x.io/a_(b) "t") is here', "the page is here"),
        ("See https://www.example.com/a/b?x=1, then", "See example dot com , then"),
        ("at https://a-b.io:80.", "at a dash b dot io ."),
        ("mail jo.b@c.com", "mail jo dot b at c dot com"),
        ("from 192.168.0.1 24/7", "from 192 dot 168 dot 0 dot 1 24 7"),
        ("2 * 3 is 6", "2 times 3 is 6"),
        ("R&amp;D snake_case", "R&D snake case"),
        ("Great 🎉👍🏽 → go\u200b on\x07", "Great go on"),
        ("```python\nx = 1\n```", "x = 1"),
        ("| a | b |", "a b"),
        ("10°C, 3.14, $5, 10:30, #3, C++", "10°C, 3.14, $5, 10:30, #3, C++"),
        ("x < 3", "x < 3"),
        ("[hi](/fˈOnimz/)", "hi"),
    ],
)
def test_signs_for_the_eye_are_not_said(written: str, said: str) -> None:
    assert clean(written).text == said


@pytest.mark.parametrize("written", ["", "🎉", "...", "***", "---", "|--|--|", "<br/>", "```", "\x00"])
def test_signs_alone_are_nothing(written: str) -> None:
    assert clean(written).words == ()


def test_words_are_as_written_and_silent_ones_stay_with_their_neighbour() -> None:
    line = clean("- **Sure** 🎉, see https://x.io now 🙂")
    assert [word.text for word in line.words] == ["- **Sure** 🎉,", "see", "https://x.io", "now 🙂"]
    tokens = line.tokens
    assert [" ".join(tokens[word.tokens.start : word.tokens.stop]) for word in line.words] == [
        "Sure ,",
        "see",
        "x dot io",
        "now",
    ]
