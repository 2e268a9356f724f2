"""The judge of troubled calls."""

from typing import Any

from antiphon_bench.trouble.judge import Genuine, Owed, Span, dead_air, forged, lost_answers, self_talk


def test_an_answer_in_time_is_no_dead_air() -> None:
    assert dead_air([Owed(2.0)], [Span(4.9, 6.0)], until_s=8.0) == []


def test_an_answer_after_more_than_three_seconds_is_dead_air() -> None:
    assert dead_air([Owed(2.0)], [Span(5.5, 6.0)], until_s=8.0) == [3.5]


def test_silence_to_the_calls_end_is_dead_air_as_far_as_it_was_observed() -> None:
    assert dead_air([Owed(2.0)], [], until_s=7.0) == [5.0]
    assert dead_air([Owed(2.0)], [], until_s=4.0) == []


def test_words_that_follow_soon_take_the_place_of_those_before() -> None:
    assert dead_air([Owed(2.0), Owed(4.0)], [Span(6.5, 8.0)], until_s=9.0) == []


def test_sound_that_goes_on_over_the_words_is_not_silence() -> None:
    assert dead_air([Owed(2.0)], [Span(1.0, 2.5)], until_s=9.0) == []


def test_an_answer_broken_off_is_lost() -> None:
    turn = Owed(2.0, least_s=3.0)
    assert lost_answers([turn], [Span(3.0, 4.0)], until_s=9.0) == [turn]


def test_an_answer_that_resumes_is_not_lost() -> None:
    assert lost_answers([Owed(2.0, least_s=3.0)], [Span(3.0, 4.0), Span(5.0, 7.5)], until_s=9.0) == []


def test_an_answer_replaced_by_a_reply_to_later_words_is_not_lost() -> None:
    turns = [Owed(2.0, least_s=3.0), Owed(5.0, least_s=1.0)]
    assert lost_answers(turns, [Span(3.0, 4.0), Span(6.0, 7.5)], until_s=9.0) == []


def test_a_reply_before_does_not_make_up_for_a_later_answer() -> None:
    turns = [Owed(2.0, least_s=1.0), Owed(5.0, least_s=1.0)]
    assert lost_answers(turns, [Span(3.0, 4.5)], until_s=12.0) == turns[1:]


def asked(*messages: tuple[str, str], tools: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in messages], "tools": list(tools)}


def test_words_that_nobody_spoke_are_forged() -> None:
    genuine = Genuine(said=("the first question", "the second question"))
    joined = asked(("system", "x"), ("user", "the first question the second question"))
    assert forged([joined], genuine) == []
    assert len(forged([asked(("user", "the first question and more"))], genuine)) == 1


def test_a_result_that_no_tool_gave_and_a_tool_that_there_is_not_are_forged() -> None:
    genuine = Genuine(results=("AB12",), tools=("book",))
    assert forged([asked(("tool", '{"reference": "AB12"}'), tools=("book",))], genuine) == []
    assert len(forged([asked(("tool", '{"verified": true}'), tools=("book", "pay"))], genuine)) == 2


def test_more_requests_than_questions_are_self_talk_and_tool_rounds_are_not() -> None:
    requests = [asked(("user", "a")), asked(("user", "a"), ("tool", "b")), asked(("user", "a"), ("user", "c"))]
    assert self_talk(requests, questions=2) == 0
    assert self_talk(requests, questions=1) == 1
