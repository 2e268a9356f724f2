"""The harness of troubled calls: its judge, its line, its model server, its random mode and what it expects."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import antiphon_bench.trouble.cases  # noqa: F401  # fills the catalogue
from antiphon_bench.trouble.case import CATALOGUE, Case, Side, Stack, Trial
from antiphon_bench.trouble.cases.dictation import digits_in
from antiphon_bench.trouble.chance import GAPS, HICCUPS, NOISES, combination
from antiphon_bench.trouble.expected import BadExpectation, Expectation, compare, read_expected
from antiphon_bench.trouble.hiccups import Proxy
from antiphon_bench.trouble.judge import Genuine, Owed, Span, Verdict, dead_air, forged, lost_answers, self_talk
from antiphon_bench.trouble.line import TICK, Echo, Format, Line, Silence, encoded
from antiphon_bench.trouble.model import ModelServer, Reply, in_turn
from antiphon_bench.trouble.report import complaints, headline
from antiphon_bench.trouble.run import Row, run_case
from antiphon_bench.trouble.sounds import beep, utterance, whisper
from antiphon_bench.wav import Samples

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
SPEECH = np.full(TICK, 0.3, np.float32)
QUIET = np.zeros(TICK, np.float32)


# The judge.


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


# The line.


def sent(line: Line, *ticks: Samples) -> list[int]:
    """The number of frames that each tick sends."""
    return [len(line.tick(line.microphone(tick, QUIET))) for tick in ticks]


def test_a_line_sends_each_tick_and_a_muted_one_nothing() -> None:
    line = Line()
    assert sent(line, SPEECH, QUIET) == [1, 1]
    line.muted = True
    assert sent(line, SPEECH, QUIET) == [0, 0]


def test_dtx_sends_a_frame_each_400_ms_of_silence_or_none() -> None:
    line = Line()
    line.silence = Silence.COMFORT
    counts = sent(line, SPEECH, *[QUIET] * 45)
    assert counts[:6] == [1] * 6
    assert sum(counts[6:]) == 2
    line.silence = Silence.NOTHING
    assert sum(sent(line, *[QUIET] * 45)) == 0
    assert sent(line, SPEECH) == [1]


def test_a_stalled_line_sends_all_at_once_or_loses_it() -> None:
    line = Line()
    line.stall()
    assert sent(line, SPEECH, SPEECH) == [0, 0]
    line.release()
    assert sent(line, SPEECH) == [3]
    line.stall()
    assert sent(line, SPEECH) == [0]
    line.forget()
    assert sent(line, SPEECH) == [1]


def test_bursts_lose_nothing() -> None:
    line = Line()
    line.burst_ticks = 3
    assert sent(line, *[SPEECH] * 6) == [0, 0, 3, 0, 0, 3]


def test_an_echo_comes_back_later_and_quieter() -> None:
    line = Line()
    line.echo = Echo(-20.0, 0.04)
    picked = [line.microphone(QUIET, heard) for heard in (SPEECH, QUIET, QUIET, QUIET)]
    assert [round(float(one.max()), 3) for one in picked] == [0.0, 0.0, 0.03, 0.0]


@pytest.mark.parametrize(
    ("form", "size"),
    [
        (Format(), 640),
        (Format(8_000), 320),
        (Format(48_000, 2), 3840),
        (Format(encoding="float32"), 1280),
        (Format(8_000, 1, "mulaw"), 160),
    ],
)
def test_a_frame_has_the_size_of_its_format(form: Format, size: int) -> None:
    frame = encoded(SPEECH, form)
    assert (len(frame.audio), frame.rate_hz, frame.channels) == (size, form.rate_hz, form.channels)


def test_a_whisper_is_as_loud_as_the_speech_and_the_same_every_time() -> None:
    speech = utterance("yes")
    first, second = whisper(speech), whisper(speech)
    assert np.array_equal(first, second)
    assert np.sqrt(np.mean(first**2)) == pytest.approx(float(np.sqrt(np.mean(speech**2))), rel=0.1)
    assert len(first) == len(speech)


# The model server and the proxy.


async def test_the_model_answers_each_agent_by_its_script() -> None:
    server = ModelServer()
    server.play("one", in_turn(Reply("It is Rome."), Reply(tool="book"), Reply("no", status=503)))
    prompt = [{"role": "system", "content": "Be brief. [one]"}, {"role": "user", "content": "Well?"}]
    async with server.serving() as url, httpx.AsyncClient(trust_env=False) as http:
        answers = [await http.post(f"{url}/chat/completions", json={"messages": prompt}) for _ in range(3)]
        other = await http.post(f"{url}/chat/completions", json={"messages": prompt[1:]})
    assert [answer.status_code for answer in (*answers, other)] == [200, 200, 503, 200]
    assert "".join(part for part in ("It", " is", " Rome.") if part in answers[0].text) == "It is Rome."
    assert '"name": "book"' in answers[1].text
    assert [request.ended for request in server.requests("one")] == ["done", "done", "503"]
    assert len(server.requests("plain")) == 1


async def test_a_proxy_holds_back_what_the_service_answers() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    service = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    async with Proxy(f"127.0.0.1:{port}").serving() as proxy:
        host, _, bind = proxy.bind.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(bind))
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        proxy.hesitate()
        writer.write(b"two")
        waiting = asyncio.create_task(reader.read(100))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        proxy.go_on()
        assert await waiting == b"two"
        proxy.cut()
        assert await reader.read(100) == b""
        writer.close()
    service.close()


def test_digits_are_read_in_figures_and_in_words() -> None:
    assert digits_in("My number is 555-123, four five six seven.") == "5551234567"
    assert digits_in("Oh, I see: somebody won.") == "0"


# Random combinations.


def test_a_seed_and_a_number_give_the_same_combination_whatever_others_there_are() -> None:
    assert combination(3, 7) == combination(3, 7)
    assert json.dumps(combination(3, 7).to_json()) == json.dumps(combination(3, 7).to_json())
    assert len({str(combination(3, number)) for number in range(50)}) == 50
    assert combination(3, 7).steps != combination(4, 7).steps


def test_random_combinations_have_all_kinds_of_trouble() -> None:
    steps = [step for number in range(200) for step in combination(1, number).steps]
    assert {step.gap for step in steps} == set(GAPS)
    assert {step.noise for step in steps} == set(NOISES)
    assert {step.hiccup for step in steps} == set(HICCUPS)


# What is expected.


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


# Running a case.


class Nowhere:
    """A place whose orchestrator is not there."""

    page = "http://127.0.0.1:1"
    recordings = Path("unused")

    def __init__(self) -> None:
        self.model = ModelServer()
        self.proxies: dict[str, Proxy] = {}

    @property
    def voice(self) -> Any:
        return self

    def question(self, number: int = 1) -> Samples:
        return beep()

    def least_s(self, answer: str) -> float:
        return 1.0


def case_of(run: Any, limit_s: float = 1.0) -> Case:
    return Case("made", "1", "16.2", "gaps", "holds", run, limit_s=limit_s)


def test_a_case_that_raises_fails_with_its_reason_and_is_recorded(tmp_path: Path) -> None:
    async def raises(trial: Trial) -> None:
        async with trial.call():
            pass

    place: Any = Nowhere()
    row = asyncio.run(run_case(case_of(raises), place, Side.OURS, tmp_path))
    assert not row.passed and not row.ran and "Error" in row.verdict.reasons[0]
    assert list(tmp_path.glob("made-ours-*.wav"))


async def test_a_case_that_hangs_fails_in_time(tmp_path: Path) -> None:
    async def hangs(_: Trial) -> None:
        await asyncio.Event().wait()

    place: Any = Nowhere()
    row = await run_case(case_of(hangs, 0.05), place, Side.OURS, tmp_path)
    assert row.verdict.reasons == ["not over within 0 s"]


def test_the_last_line_sums_up_our_side_alone() -> None:
    async def nothing(_: Trial) -> None:
        return

    def row(side: Side, verdict: Verdict) -> Row:
        return Row(case_of(nothing), side, verdict, 1.0, [], [], 0.0)

    rows = [
        row(Side.OURS, Verdict(dead_air=1, lost_answers=2, reasons=["x"])),
        row(Side.OURS, Verdict()),
        row(Side.PLAIN, Verdict(forged=1, reasons=["y"])),
    ]
    compared = compare({"made": False}, {}, ["made"])
    line = "BENCH trouble cases=2 passed=1 expected_failures=0 dead_air=1 lost_answers=2 forged=0 self_talk=0"
    assert headline(rows, compared) == line
