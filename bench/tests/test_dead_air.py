"""Recordings of known troubles: dead air, broken-off answers, silence after interruptions, self-talk."""

import itertools

import pytest

from antiphon_bench.dead_air import Cause, Sounds, Then, Trouble, find_troubles
from antiphon_bench.recording import Outcome, Result, analyse
from antiphon_bench.speech import Segment
from antiphon_bench.testing import SpokenCall, voice, whispered
from antiphon_bench.testing.soak import counted

RATES_HZ = [8_000, 16_000, 24_000, 48_000]
NOISES_DBFS = [None, -60.0, -45.0]
# 60 of them: rate, level, delay and noise. Each fifth has both rates, every level, every delay and both noises.
ECHOES = list(itertools.product([8_000, 24_000], [-4.0, -14.0, -26.0, -34.0, -42.0], [0.05, 0.16, 0.3], [None, -60.0]))


def healthy(rate_hz: int = 16_000) -> SpokenCall:
    """Two questions, each answered within a second by a reply of two sentences."""
    call = SpokenCall(rate_hz, 24.0)
    asked = call.caller(0.5, "1")
    replied = call.agent(asked + 0.7, "lights")
    replied = call.agent(replied + 0.5, "money")
    asked = call.caller(replied + 2.6, "2")
    call.agent(asked + 0.9, "train")
    return call


def kinds(result: Result) -> dict[str, int]:
    counts = {kind.value: result.troubles.count(kind) for kind in Trouble}
    assert counts == {kind.value: getattr(result.summary, kind.value) for kind in Trouble}
    return {kind: count for kind, count in counts.items() if count}


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("noise_dbfs", NOISES_DBFS)
def test_a_good_call_has_no_trouble(rate_hz: int, noise_dbfs: float | None) -> None:
    call = healthy(rate_hz)
    call.seconds = 20.0
    result = analyse(call.audio(noise_dbfs=noise_dbfs))
    assert [turn.outcome for turn in result.turns] == [Outcome.ANSWERED] * 2
    # The recording goes on for less than three seconds after the agent, and that is nobody's fault.
    assert (kinds(result), result.broken_off, result.echo) == ({}, (), None)


@pytest.mark.parametrize("noise_dbfs", NOISES_DBFS)
def test_dead_air_lasts_from_the_callers_turn_to_the_agents_next_sound(noise_dbfs: float | None) -> None:
    call = SpokenCall(16_000, 16.0)
    asked = call.caller(0.5, "1")
    call.agent(asked + 4.0, "lights")
    (gap,) = analyse(call.audio(noise_dbfs=noise_dbfs)).dead_air
    assert (gap.turn, gap.start_s, gap.end_s) == (1, pytest.approx(asked, abs=0.1), pytest.approx(asked + 4, abs=0.1))


def test_dead_air_goes_on_while_the_caller_is_there() -> None:
    call = SpokenCall(16_000, 10.0)
    asked = call.caller(0.5, "1")
    result = analyse(call.audio())
    assert [(gap.turn, gap.end_s) for gap in result.dead_air] == [(1, 10.0)]
    assert result.summary.dead_air_total_s == pytest.approx(10.0 - asked, abs=0.1)


def test_a_caller_who_thinks_after_an_answer_makes_no_dead_air() -> None:
    call = SpokenCall(16_000, 20.0)
    replied = call.agent(call.caller(0.5, "1") + 0.5, "no")
    call.agent(call.caller(replied + 6.0, "2") + 0.5, "no")
    result = analyse(call.audio())
    assert kinds(result) == {}
    assert [gap.end_s - gap.start_s for gap in result.silences] == [pytest.approx(6.0, abs=0.1)]


def test_how_long_is_dead_air_can_be_said() -> None:
    call = SpokenCall(16_000, 12.0)
    call.agent(call.caller(0.5, "1") + 2.0, "lights")
    audio = call.audio()
    assert [len(analyse(audio, dead_air_s=limit).dead_air) for limit in (1.5, 2.5)] == [1, 0]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("noise_dbfs", [None, -60.0])
@pytest.mark.parametrize("cut_s", [1.0, 1.5])
def test_an_answer_that_stops_for_no_reason_is_broken_off(rate_hz: int, noise_dbfs: float | None, cut_s: float) -> None:
    call = SpokenCall(rate_hz, 14.0)
    asked = call.caller(0.5, "1")
    stopped = call.agent(asked + 0.6, "return", cut_s=cut_s)
    result = analyse(call.audio(noise_dbfs=noise_dbfs))
    (broken,) = result.broken_off
    assert (broken.cause, broken.then, broken.turn) == (Cause.NONE, Then.NOTHING, None)
    assert broken.at_s == pytest.approx(stopped, abs=0.1)
    assert kinds(result) == {"broken_off": 1}


@pytest.mark.parametrize("noise_dbfs", NOISES_DBFS)
def test_an_interruption_that_gets_its_reply_is_no_trouble(noise_dbfs: float | None) -> None:
    call = SpokenCall(16_000, 17.0)
    replied = call.caller(0.5, "1") + 0.6
    call.agent(replied, "return", cut_s=2.35)
    said = call.caller(replied + 2.0, "3")
    call.agent(said + 0.8, "train")
    result = analyse(call.audio(noise_dbfs=noise_dbfs))
    assert [(one.cause, one.then, one.turn) for one in result.broken_off] == [(Cause.CALLER, Then.REPLY, 2)]
    assert kinds(result) == {}


@pytest.mark.parametrize(("whisper", "noise_dbfs"), [(False, None), (False, -60.0), (False, -45.0), (True, -60.0)])
def test_an_interruption_that_nothing_follows_is_silence_and_a_lost_answer(
    whisper: bool, noise_dbfs: float | None
) -> None:
    call = SpokenCall(16_000, 14.0)
    replied = call.caller(0.5, "1") + 0.6
    call.agent(replied, "return", cut_s=2.35)
    words = voice("3", 16_000)
    said = call.caller(replied + 2.0, whispered(words) if whisper else words)
    result = analyse(call.audio(noise_dbfs=noise_dbfs))
    (silence,) = result.silence_after_interruption
    assert (silence.turn, silence.start_s, silence.end_s) == (2, pytest.approx(said, abs=0.25), 14.0)
    assert [(one.cause, one.then) for one in result.broken_off] == [(Cause.CALLER, Then.NOTHING)]
    assert kinds(result) == {"dead_air": 1, "broken_off": 1, "silence_after_interruption": 1}


def test_an_agent_that_talks_through_an_uh_huh_is_in_no_trouble() -> None:
    call = SpokenCall(16_000, 14.0)
    replied = call.caller(0.5, "1") + 0.6
    call.agent(replied, "return")
    call.caller(replied + 2.0, "yes")
    assert kinds(analyse(call.audio())) == {}


def test_a_reply_that_pauses_in_vain_and_goes_on_is_not_broken_off() -> None:
    call = SpokenCall(16_000, 16.0)
    reply = voice("return", 16_000)
    paused = call.agent(call.caller(0.5, "1") + 0.6, reply, cut_s=1.5)
    call.agent(paused + 0.7, reply[24_000:])
    result = analyse(call.audio())
    assert [one.then for one in result.broken_off] == [Then.RESUMED]
    assert kinds(result) == {}


def self_talk(rate_hz: int) -> SpokenCall:
    """One question, and an agent that breaks off five times, each time without a word of the caller."""
    call = SpokenCall(rate_hz, 28.0)
    at_s = call.caller(0.5, "1") + 0.6
    for _ in range(5):
        at_s = call.agent(at_s, "return", cut_s=1.5) + 1.6
    call.agent(at_s, "return", cut_s=1.0)
    return call


@pytest.mark.parametrize(("rate_hz", "echo_db", "delay_s", "noise_dbfs"), counted(full=ECHOES, reduced=ECHOES[::5]))
def test_an_agent_that_answers_its_own_echo_is_seen(
    rate_hz: int, echo_db: float, delay_s: float, noise_dbfs: float | None
) -> None:
    result = analyse(self_talk(rate_hz).audio(echo_db=echo_db, delay_s=delay_s, noise_dbfs=noise_dbfs))
    assert result.echo is not None
    assert result.echo.delay_ms == pytest.approx(delay_s * 1000, abs=2)
    assert result.echo.gain_db == pytest.approx(echo_db, abs=2)
    # The echo is not taken for what the caller says.
    assert [turn.outcome for turn in result.turns] == [Outcome.ANSWERED]
    (talk,) = result.self_talk
    assert talk.starts_over == 5
    assert [(one.cause, one.then) for one in result.broken_off] == [
        *[(Cause.ECHO, Then.AGAIN)] * 5,
        (Cause.ECHO, Then.NOTHING),
    ]
    assert kinds(result) == {"broken_off": 6, "self_talk": 1}


@pytest.mark.parametrize("echo_db", [-4.0, -14.0, -26.0])
def test_a_caller_who_speaks_through_an_echo_is_heard(echo_db: float) -> None:
    call = SpokenCall(16_000, 20.0)
    replied = call.caller(0.5, "1") + 0.6
    call.agent(replied, "return", cut_s=2.35)
    said = call.caller(replied + 2.0, "3")
    call.agent(said + 0.8, "train")
    result = analyse(call.audio(echo_db=echo_db, delay_s=0.16))
    assert [turn.outcome for turn in result.turns] == [Outcome.ANSWERED] * 2
    assert result.turns[1].caller_start_s == pytest.approx(replied + 2.0, abs=0.06)
    assert [(one.cause, one.then) for one in result.broken_off] == [(Cause.CALLER, Then.REPLY)]
    assert kinds(result) == {}


def test_an_echo_alone_is_no_trouble() -> None:
    result = analyse(healthy().audio(echo_db=-14.0, delay_s=0.1))
    assert result.echo is not None
    assert [turn.outcome for turn in result.turns] == [Outcome.ANSWERED] * 2
    assert result.self_talk == ()


def test_the_analysis_needs_no_wave() -> None:
    """A load has no recording: it knows when who sounded, in milliseconds."""
    turns, agent = [Segment(500, 1500), Segment(4000, 5000)], [Segment(2000, 4300)]
    troubles = find_troubles(Sounds(turns, agent, 12_000, 1000), 3.0)
    assert troubles.kinds == (Trouble.DEAD_AIR, Trouble.BROKEN_OFF, Trouble.SILENCE_AFTER_INTERRUPTION)
    assert troubles.dead_air_total_s == 7.0
    known = find_troubles(Sounds(turns, agent, 12_000, 1000), 3.0, lambda _: False)
    assert known.kinds == (Trouble.DEAD_AIR,)
