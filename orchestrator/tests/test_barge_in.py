"""Rules by which speech over the agent's interrupts it, without a pipeline."""

import pytest

from antiphon_orchestrator.turns.barge_in import BargeIn, Overlap, Ruling, is_echo
from antiphon_orchestrator.turns.words import LANGUAGES, is_back_channel

SAID = "The shop opens at nine and closes at six"


@pytest.mark.parametrize(
    ("overlap", "ruling"),
    [
        # Words.
        (Overlap(200, text="Stop."), Ruling.STOP),
        (Overlap(200, silence_ms=100, text="No, Tuesday."), Ruling.STOP),
        (Overlap(300, text="Okay but"), Ruling.STOP),
        # What a listener says: also while it is not whole yet.
        (Overlap(300, text="Uh-huh"), Ruling.WAIT),
        (Overlap(300, text="Oka"), Ruling.WAIT),
        (Overlap(300, text="I"), Ruling.WAIT),
        (Overlap(300, silence_ms=100, text="I"), Ruling.STOP),
        (Overlap(300, silence_ms=100, text="Uh-huh."), Ruling.RESUME),
        (Overlap(900, text="Yeah, right, okay"), Ruling.WAIT),
        (Overlap(1500, text="Yeah, right, okay"), Ruling.STOP),
        # Near the end of what the agent says it is an answer.
        (Overlap(300, silence_ms=100, text="Yes.", left_ms=999), Ruling.STOP),
        (Overlap(300, silence_ms=100, text="Yes.", left_ms=1000), Ruling.RESUME),
        # No words, or not yet.
        (Overlap(799), Ruling.WAIT),
        (Overlap(800), Ruling.STOP),
        (Overlap(599, silence_ms=100), Ruling.WAIT),
        (Overlap(600, silence_ms=64), Ruling.STOP),
        (Overlap(600, silence_ms=64, text=""), Ruling.STOP),
        (Overlap(300, silence_ms=499), Ruling.WAIT),
        (Overlap(300, silence_ms=500), Ruling.RESUME),
        (Overlap(300, silence_ms=100, text=""), Ruling.RESUME),
        (Overlap(800, text=""), Ruling.STOP),
        # The agent's own voice.
        (Overlap(2000, text="opens at nine", said=SAID), Ruling.WAIT),
        (Overlap(2000, silence_ms=100, text="Opens at nine.", said=SAID), Ruling.RESUME),
        (Overlap(300, text="opens at ten", said=SAID), Ruling.STOP),
        (Overlap(300, text="nine", said=SAID), Ruling.STOP),
    ],
)
def test_it_rules_on_what_is_known(overlap: Overlap, ruling: Ruling) -> None:
    assert BargeIn().decide(overlap) is ruling


def test_words_that_were_said_are_an_echo_only_in_their_order() -> None:
    assert is_echo("nine and closes", SAID) and not is_echo("closes and nine", SAID)
    assert not is_echo("", SAID) and not is_echo("opens at", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_back_channels_and_its_questions_are_none(language: str) -> None:
    known = LANGUAGES[language]
    assert known.back_channels
    assert all(is_back_channel(phrase.upper() + "!", f"{language}-XX") for phrase in known.back_channels)
    assert not any(is_back_channel(word, language) for word in known.asks)


def test_a_language_without_a_table_has_no_back_channels() -> None:
    assert not is_back_channel("mhm", "xx") and not is_back_channel("", "en")
