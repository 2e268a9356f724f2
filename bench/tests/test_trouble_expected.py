"""The catalogue of troubled calls, and what is expected of it."""

from pathlib import Path

import pytest

import antiphon_bench.trouble.cases  # noqa: F401  # fills the catalogue
from antiphon_bench.trouble.case import CATALOGUE, Stack
from antiphon_bench.trouble.expected import BadExpectation, Expectation, compare, read_expected
from antiphon_bench.trouble.report import complaints

# The file may only shrink: take a name out here with it, never put one in.
MAY_FAIL = frozenset(
    [
        "barge_in_through_echo",
        "context_over_the_window",
        "dictated_address_900_ms",
        "dictated_card_500_ms",
        "dictated_card_900_ms",
        "dictated_phone_900_ms",
        "dictated_spelling_900_ms",
        "echo_14_db_under",
        "echo_26_db_under",
        "echo_34_db_under",
        "echo_42_db_under",
        "echo_4_db_under",
        "finish_of_a_filter",
        "hello_while_thinking",
        "hum_is_no_word",
        "mm_hmm_over_answer",
        "television_20_db_under",
        "television_30_db_under",
        "television_40_db_under",
        "thought_in_other_tags",
        "thought_without_opening",
        "tool_call_in_words",
        "tool_interrupted",
        "whisper_over_answer",
        "whisper_over_greeting",
        "whisper_while_thinking",
        "whispered_question",
        "yes_to_question",
    ]
)
LATER_ISSUES = ("19.", "20.", "24.")


def test_the_catalogue_has_at_least_sixty_cases_with_row_and_item() -> None:
    assert len(CATALOGUE) >= 60
    assert all(case.row and case.must and case.group.split(".")[0].isdigit() for case in CATALOGUE.values())
    assert {case.stack for case in CATALOGUE.values()} == set(Stack)


def test_the_expected_failures_are_cases_of_later_issues_and_only_shrink() -> None:
    expected = read_expected()
    assert set(expected) <= set(CATALOGUE)
    assert {name: CATALOGUE[name].group for name in expected} == {name: one.item for name, one in expected.items()}
    assert all(one.item.startswith(LATER_ISSUES) for one in expected.values())
    assert set(expected) <= MAY_FAIL
    # What stubs hear does not depend on a model.
    assert all(CATALOGUE[name].stack is Stack.REAL for name, one in expected.items() if one.sometimes)


def test_a_line_that_is_no_expectation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "expected.txt"
    path.write_text("# comment\none 19.1\n\ntwo 19.2 sometimes  # why\n")
    assert read_expected(path) == {"one": Expectation("19.1"), "two": Expectation("19.2", sometimes=True)}
    for wrong in ("one\n", "one 19.1\none 19.1\n", "one 19.1 more\n"):
        path.write_text(wrong)
        with pytest.raises(BadExpectation):
            read_expected(path)


def test_a_case_that_passes_against_expectation_makes_the_run_fail_unless_it_may_do_so_sometimes() -> None:
    known, listed = ("a", "b", "c", "d"), Expectation("19.1")
    good = compare({"a": True, "b": False}, {"b": listed}, known)
    assert good.is_good and good.expected == ["b"] and complaints(good) == []
    bad = compare({"a": False, "b": True}, {"b": listed, "x": listed}, known)
    assert (bad.failing, bad.to_remove, bad.unknown) == (["a"], ["b"], ["x"])
    assert not bad.is_good and len(complaints(bad)) == 3
    assert not compare({"b": True}, {"b": listed}, known).is_good
    for passes in (True, False):
        assert compare({"b": passes}, {"b": Expectation("19.1", sometimes=True)}, known).is_good


def test_a_case_that_was_not_run_or_crashed_is_never_an_expected_failure() -> None:
    compared = compare({"a": False}, {"a": Expectation("19.1", sometimes=True)}, ["a"], not_run=["a"])
    assert compared.failing == ["a"] and not compared.is_good
