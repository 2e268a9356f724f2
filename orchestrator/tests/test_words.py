import pytest

from antiphon_orchestrator.turns.words import LANGUAGES, Ending, ending


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Ending.PLAIN),
        ("...", Ending.CONJUNCTION),
        ("Book a table for two.", Ending.PLAIN),
        ("I'd like to book a table for", Ending.CONJUNCTION),
        ("I'd like to book a table for.", Ending.CONJUNCTION),
        ("Who are you looking for?", Ending.QUESTION),
        ("what are you looking for", Ending.QUESTION),
        ("Turn it on.", Ending.PLAIN),
        ("I think so.", Ending.PLAIN),
        ("I want that, but", Ending.CONJUNCTION),
        ("On Monday,", Ending.CONJUNCTION),
        ("The thing is…", Ending.CONJUNCTION),
        ("My name is", Ending.CONJUNCTION),
        ("Do you know what it is?", Ending.QUESTION),
        ("Could you tell me?", Ending.CONJUNCTION),
        ("I think I want.", Ending.CONJUNCTION),
        ("What do you want?", Ending.QUESTION),
        ("Um.", Ending.FILLER),
        ("I need, uh,", Ending.FILLER),
        ("Well, let me see.", Ending.FILLER),
        ("I\u2019m", Ending.CONJUNCTION),
        ("My number is five five five.", Ending.NUMBER),
        ("It's 555", Ending.NUMBER),
        ("It's 555-0123.", Ending.PLAIN),
        ("five five five oh one two three", Ending.PLAIN),
        ("My number is five five five, oh one", Ending.PLAIN),
        ("double", Ending.CONJUNCTION),
        ("Two, please.", Ending.PLAIN),
        ("I was born in 1987.", Ending.PLAIN),
        ("What?", Ending.QUESTION),
    ],
)
def test_the_last_words_tell_what_they_wait_for(text: str, expected: Ending) -> None:
    assert ending(text) is expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Ich möchte einen Tisch für zwei und", Ending.CONJUNCTION),
        ("de-AT", "Wo wohnen Sie", Ending.QUESTION),
        ("de", "Ich nehme das.", Ending.PLAIN),
        ("es", "Quiero una mesa para", Ending.CONJUNCTION),
        ("es", "¿Dónde está?", Ending.QUESTION),
        ("fr", "Je voudrais une table pour", Ending.CONJUNCTION),
        ("fr", "Oui, euh", Ending.FILLER),
        ("ja", "お願いします", Ending.PLAIN),
        ("ja", "何時ですか？", Ending.QUESTION),
        ("xx", "um", Ending.PLAIN),
        ("xx", "one,", Ending.CONJUNCTION),
    ],
)
def test_each_language_has_its_own_words_and_the_others_their_punctuation(
    language: str, text: str, expected: Ending
) -> None:
    assert ending(text, language) is expected


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_the_tables_are_in_the_form_in_which_words_are_compared(language) -> None:
    tables = (*language.joins, *language.leads, *language.asks, *language.digits, *language.fillers)
    assert [word for word in tables if word != word.lower()] == []
