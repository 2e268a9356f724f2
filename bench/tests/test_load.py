"""The load generator against agents of known latency: what it says of them must be true."""

import asyncio
import time
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from antiphon_bench.errors import AudioError
from antiphon_bench.load import pacing
from antiphon_bench.load.belongs import Judge
from antiphon_bench.load.knee import find_knee, knee
from antiphon_bench.load.material import Question, questions
from antiphon_bench.load.pacing import Kept, Pacer
from antiphon_bench.load.plan import Arrivals, Goal, Manner, Plan, PlanError
from antiphon_bench.load.rows import Outcome, TurnRow
from antiphon_bench.load.run import Loaded, callers, lines_of
from antiphon_bench.load.score import score
from antiphon_bench.testing import KnownAgent, answering, tone
from antiphon_bench.testing import Manner as Agent


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A question of 0.6 s in 0.7 s of audio."""
    path = tmp_path / "question.wav"
    speech = np.concatenate([np.zeros(800, np.float32), tone(0.6, 16_000), np.zeros(800, np.float32)])
    sf.write(path, speech, 16_000)
    return path


def plan(question: Path, **changes: object) -> Plan:
    basis: dict[str, object] = {"callers": 4, "turns": 1, "over_s": 0.4, "timeout_s": 5.0, "url": ""}
    return Plan(files=[question], **{**basis, **changes})  # type: ignore[arg-type]


async def loaded(plan: Plan, agent: KnownAgent) -> tuple[list[TurnRow], Kept]:
    rows: list[TurnRow] = []
    begun = Plan(**{**{name: getattr(plan, name) for name in plan.__slots__}, "url": agent.url})
    kept = await callers(begun, range(plan.callers), lines_of(begun), time.monotonic() + 0.1, rows.append)
    return rows, kept


def outcomes(rows: list[TurnRow]) -> dict[str, int]:
    return score(rows, 2.0).outcomes


pytestmark = pytest.mark.slow
# Both sides run in this process, on a busy machine: what an agent does when it is late is not the generator's error.
WITHIN_MS = 60.0


async def test_a_fixed_latency_is_reported_as_it_is(question: Path) -> None:
    async with answering(Agent(delay_s=0.5, answer_s=0.3)) as agent:
        rows, _ = await loaded(plan(question, turns=2), agent)
    assert outcomes(rows) == {"answered": 8}
    for row, true_ms in zip(sorted(row.v2v_ms or 0 for row in rows), sorted(agent.v2v_ms), strict=True):
        assert row == pytest.approx(true_ms, abs=WITHIN_MS + agent.late_ms)


async def test_turns_of_twelve_seconds_are_in_the_percentiles_as_long_as_they_were(question: Path) -> None:
    agent_of = Agent(delay_s=0.8, slow_every=4, slow_s=12.0, answer_s=0.3)
    async with answering(agent_of) as agent:
        rows, _ = await loaded(plan(question, callers=8, timeout_s=15.0), agent)
    found = score(rows, 15.0)
    assert (found.turns, found.good) == (8, 8)
    assert found.p50_ms == pytest.approx(800, abs=200 + agent.late_ms)
    assert found.p95_ms == found.max_ms == pytest.approx(12_000, abs=200 + agent.late_ms)


async def test_turns_that_take_longer_than_the_time_out_count_as_that_and_as_failed(question: Path) -> None:
    agent_of = Agent(delay_s=0.8, slow_every=4, slow_s=12.0, answer_s=0.3)
    async with answering(agent_of) as agent:
        rows, _ = await loaded(plan(question, callers=8, timeout_s=5.0), agent)
    found = score(rows, 5.0)
    assert found.outcomes == {"answered": 6, "unanswered": 2} and found.failed_share == 0.25
    assert found.p50_ms == pytest.approx(800, abs=200 + agent.late_ms)
    assert found.p95_ms == found.max_ms == 5000


async def test_an_answer_that_comes_after_it_was_given_up_is_not_the_next_questions(question: Path) -> None:
    agent_of = Agent(delay_s=0.4, slow_every=3, slow_s=6.0, answer_s=0.3)
    async with answering(agent_of) as agent:
        rows, _ = await loaded(plan(question, callers=1, turns=4, timeout_s=3.0), agent)
    assert [row.outcome for row in rows] == ["answered", "answered", "unanswered", "answered"]
    assert [row.v2v_ms for row in rows if row.v2v_ms] == [pytest.approx(400, abs=WITHIN_MS + agent.late_ms)] * 3


async def test_an_agent_that_is_silent_has_answered_nothing(question: Path) -> None:
    async with answering(Agent(silent=True)) as agent:
        rows, _ = await loaded(plan(question, timeout_s=0.8), agent)
    found = score(rows, 0.8)
    assert found.outcomes == {"unanswered": 4} and found.good == 0
    assert found.p50_ms == found.max_ms == 800


async def test_a_line_that_drops_costs_all_turns_that_were_to_come(question: Path) -> None:
    async with answering(Agent(delay_s=0.3, answer_s=1.0, dies_after_s=0.2)) as agent:
        rows, _ = await loaded(plan(question, callers=2, turns=3), agent)
    assert outcomes(rows) == {"dropped": 6}
    assert sorted((row.caller, row.number) for row in rows) == [(c, n) for c in range(2) for n in (1, 2, 3)]


async def test_calls_that_are_refused_are_turns_without_an_answer(question: Path) -> None:
    async with answering(Agent(refuses=HTTPStatus.SERVICE_UNAVAILABLE)) as agent:
        rows, _ = await loaded(plan(question, callers=2, turns=3), agent)
    assert outcomes(rows) == {"refused": 6} and "503" in rows[0].error
    assert score(rows, 2.0).p50_ms == 2000


@pytest.mark.parametrize(
    "agent_of", [Agent(silent=True, echo_s=0.2), Agent(silent=True, early_s=0.2, answer_s=1.0)], ids=["echo", "early"]
)
async def test_neither_an_echo_nor_an_agent_that_talks_over_its_caller_is_a_fast_answer(
    question: Path, agent_of: Agent
) -> None:
    async with answering(agent_of) as agent:
        rows, _ = await loaded(plan(question, callers=2), agent)
    assert outcomes(rows) == {"early": 2}
    assert [row.v2v_ms for row in rows] == [None, None] and score(rows, 2.0).p50_ms == 2000


async def test_a_server_whose_clock_is_wrong_is_not_believed(question: Path) -> None:
    async with answering(Agent(delay_s=0.6, answer_s=0.3, claims_ms=5.0)) as agent:
        rows, _ = await loaded(plan(question, callers=2), agent)
    assert all(row.v2v_ms == pytest.approx(600, abs=150 + agent.late_ms) for row in rows)
    assert [row.server["v2v_ms"] for row in rows if row.server] == [5.0, 5.0]


async def test_a_caller_who_breaks_in_tells_how_long_the_agent_spoke_on(question: Path) -> None:
    manner = Manner(barge_in_share=1.0, barge_in_at_s=0.3)
    async with answering(Agent(delay_s=0.3, answer_s=3.0)) as agent:
        rows, _ = await loaded(plan(question, callers=2, turns=2, manner=manner), agent)
    assert outcomes(rows) == {"interrupted": 2, "answered": 2}
    broke_in = [row for row in rows if row.number == 2]
    # This agent stops at the first frame that is not silent; the question begins with 50 ms of silence.
    assert all(
        row.barge_in_ms is not None and 0 <= row.barge_in_ms <= 300 + agent.late_ms + row.late_ms for row in broke_in
    )


async def test_an_agent_that_does_not_report_is_measured_all_the_same(question: Path) -> None:
    async with answering(Agent(delay_s=0.4, answer_s=0.3, reports=False)) as agent:
        rows, _ = await loaded(plan(question, callers=2, turns=2), agent)
    assert outcomes(rows) == {"answered": 4} and all(row.server is None for row in rows)


async def test_frames_are_paced_by_absolute_time_and_do_not_drift(question: Path) -> None:
    async with answering(Agent(silent=True)) as agent:
        rows, kept = await loaded(plan(question, callers=3, timeout_s=5.0), agent)
    assert len(rows) == 3 and kept.ticks > 250


class Busy:
    """In the place of `time` and `asyncio`: a machine whose every sleep lasts 5 ms too long."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds) + 0.005


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    busy = Busy()
    monkeypatch.setattr(pacing, "time", busy)
    monkeypatch.setattr(pacing, "asyncio", busy)
    return busy


async def test_a_clock_that_is_always_late_does_not_drift(busy: Busy) -> None:
    pacer, number = Pacer(0.0), 0
    async for due_s, now_s in pacer.ticks():
        number += 1
        assert due_s == pytest.approx(number * 0.02) and now_s - due_s == pytest.approx(0.005)
        busy.now_s += 0.003  # what a tick's work takes
        if number == 3000:
            break
    kept = pacer.kept()
    assert kept.ticks == 3000 and kept.late_p50_ms == kept.late_max_ms == 5.0 and abs(kept.drift) < 1e-9


async def test_a_clock_that_is_blocked_says_so_and_catches_up(busy: Busy) -> None:
    pacer, late_ms = Pacer(0.0), []
    async for due_s, now_s in pacer.ticks():
        late_ms.append(round((now_s - due_s) * 1000))
        if len(late_ms) == 10:
            busy.now_s += 0.1  # somebody else's work
        if len(late_ms) == 60:
            break
    assert late_ms[:10] == [5] * 10 and late_ms[10] == 90 and late_ms[-1] == 5
    assert pacer.kept().late_max_ms == 90.0


def test_who_comes_when() -> None:
    def starts(arrivals: Arrivals) -> list[float]:
        return Plan("", 100, [Path("a.wav")], arrivals=arrivals, over_s=10.0).starts_s()

    for arrivals in Arrivals:
        assert len(starts(arrivals)) == 100 and starts(arrivals) == sorted(starts(arrivals))
        assert starts(arrivals)[0] >= 0 and starts(arrivals)[-1] <= 10
    assert starts(Arrivals.CONSTANT)[50] == 5
    # A quarter of a ramp's callers come in its first half.
    assert sum(at < 5 for at in starts(Arrivals.RAMP)) == 25
    assert starts(Arrivals.POISSON) != starts(Arrivals.CONSTANT)


@pytest.mark.parametrize("change", [{"callers": 0}, {"turns": 0}, {"over_s": -1.0}, {"timeout_s": 0.0}])
def test_a_plan_that_makes_no_sense_is_refused(question: Path, change: dict[str, object]) -> None:
    with pytest.raises(PlanError):
        plan(question, **change)


def test_what_cannot_be_read_is_told_before_anybody_calls(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError):
        lines_of(plan(tmp_path / "a.wav"))


def asked(name: str, said: str = "", expected: tuple[str, ...] = ()) -> Question:
    return Question(name, said, expected, (b"",), 1.0)


@pytest.mark.parametrize(
    ("heard", "belongs"),
    [
        ("What is the capital of Italy?", True),
        ("what's the capital of italy", True),
        ("What is the capital of Japan?", False),
        ("Please pass the salt and the pepper mill over.", False),
        ("", True),
    ],
)
def test_an_answer_belongs_to_the_question_that_was_heard(heard: str, belongs: bool) -> None:
    italy, japan = asked("italy", "What is the capital of Italy?"), asked("japan", "What is the capital of Japan?")
    assert (Judge([italy, japan]).complaint(italy, heard, "Rome.") == "") == belongs


@pytest.mark.parametrize(("answered", "belongs"), [("It is Rome.", True), ("It is Paris.", False), ("", False)])
def test_with_expected_words_the_answer_must_have_them(answered: str, belongs: bool) -> None:
    italy = asked("italy", "What is the capital of Italy?", ("Rome",))
    assert (Judge([italy]).complaint(italy, "anything", answered) == "") == belongs


def test_a_hesitation_is_silence_in_the_middle_and_noise_is_on_all_of_it(question: Path) -> None:
    (plain,) = questions([question], Manner())
    (paused,) = questions([question], Manner(pause_s=0.5), paused=True)
    assert len(paused.frames) - len(plain.frames) == 25
    assert paused.speech_end_s == pytest.approx(plain.speech_end_s + 0.5, abs=0.02)
    (noisy,) = questions([question], Manner(noise_dbfs=-40.0))
    assert (
        np.abs(np.frombuffer(noisy.frames[0], "<i2")).max() > 0 == np.abs(np.frombuffer(plain.frames[0], "<i2")).max()
    )


def bearing(most: int) -> tuple[list[int], object]:
    """A platform that bears so many callers."""
    tried: list[int] = []

    def run(one: Plan) -> Loaded:
        tried.append(one.callers)
        slow = one.callers > most
        outcome = Outcome.UNANSWERED if slow else Outcome.ANSWERED
        row = TurnRow(0, 1, "q", outcome, 0.0, None if slow else 500.0, None, "", 0.0)
        return Loaded(one, (row,) * one.callers, (), 1.0, 1.0)

    return tried, run


@pytest.mark.parametrize("most", [0, 1, 7, 33, 100])
def test_the_knee_is_found_within_a_tenth(question: Path, most: int) -> None:
    _, run = bearing(most)
    found = knee(find_knee(plan(question, callers=4), Goal(1500.0), 64, run))  # type: ignore[arg-type]
    assert found <= most and found >= min(most, 64) - max(1, 0.1 * most)


def test_a_level_that_fails_once_is_tried_again(question: Path) -> None:
    tried, run = bearing(4)
    levels = find_knee(plan(question, callers=4), Goal(1500.0), 8, run)  # type: ignore[arg-type]
    assert tried[:3] == [4, 8, 8] and [level.kept for level in levels[:3]] == [True, False, False]


async def test_a_caller_ends_when_it_is_told_to(question: Path) -> None:
    async with answering(Agent(silent=True)) as agent:
        going = asyncio.create_task(loaded(plan(question, timeout_s=60.0), agent))
        await asyncio.sleep(1.0)
        going.cancel()
        assert isinstance((await asyncio.gather(going, return_exceptions=True))[0], asyncio.CancelledError)
