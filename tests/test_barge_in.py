"""The caller speaks while the agent does: the agent stops, its services are let go, and only what was heard is kept."""

import asyncio
from pathlib import Path

import pytest
from platform_fixture import AVA, platform, until

from antiphon_bench import place_call
from antiphon_bench.call import Call
from antiphon_tts.backends.stub import word_ms

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
LONG = "Well, " + " ".join(f"number {word}" for word in NUMBERS * 9)
# As the caller hears it, from the first sample of the interruption, and on the server's clock, which begins later.
SILENT_WITHIN_MS = 400
REPORTED_WITHIN_MS = 250


def room_ms(call: Call) -> float:
    """Added to every bound on the call's times: the caller, the server and its services run on one event loop, and a
    sound passes each of them. Nothing on a machine that keeps time."""
    return 3 * call.line.late_ms


@pytest.fixture(autouse=True)
def slow_and_long_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes for about four seconds, so that it is at work when it is interrupted."""
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", f"{LONG}|{LONG}|{LONG}|Yes, of course.")
    monkeypatch.setenv("ANTIPHON_LLM_STUB__PROFILE", "dgx-spark")


async def test_an_interrupted_agent_is_silent_soon_and_remembers_what_was_heard(hello: Path) -> None:
    async with platform(agents={"ava": AVA.model_copy(update={"max_token_count": 250})}) as at:
        calling = asyncio.create_task(place_call(at.url, [hello] * 4, barge_in_at_s=1.0))
        for interrupted in (1, 2, 3):
            await until(lambda n=interrupted: at.rpcs("tts", "cancelled") >= n, timeout_s=60)
            # The listening goes on, the answering does not.
            await until(lambda: at.slots_used() == {"asr": 1, "turn": 1, "llm": 0, "tts": 0}, timeout_s=60)
        call = await calling
        await until(at.idle)

        # A busy machine may begin an answer and withdraw it before the turn is over: that is told of each turn.
        withdrawn = sum(turn.reports[-1]["dropped"] for turn in call.turns)
        ended = {name: (at.rpcs(name, "cancelled"), at.rpcs(name, "ok")) for name in ("llm", "tts")}
        assert ended["llm"] == (3 + withdrawn, 1)
        assert 3 <= ended["tts"][0] <= 3 + withdrawn and ended["tts"][1] == 1
        session = at.sessions.find(call.session_id)
        assert session and session.context
        kept = [str(message["content"]) for message in session.context.get_messages() if message["role"] == "assistant"]

    assert [turn.outcome for turn in call.turns] == ["interrupted"] * 3 + ["answered"]
    room, stops_ms = room_ms(call), [turn.barge_in_ms for turn in call.turns[1:]]
    assert all(ms is not None and 0 <= ms <= SILENT_WITHIN_MS + room for ms in stops_ms), (stops_ms, room)

    # On the server's clock the agent falls silent sooner than it is heard to.
    reported_ms = [turn.reports[-1]["barge_in_ms"] for turn in call.turns]
    assert all(0 < ms <= REPORTED_WITHIN_MS + room for ms in reported_ms[:3]) and reported_ms[3] is None, reported_ms

    assert [turn.answered for turn in call.turns] == kept
    assert kept[3] == "Yes, of course."
    for text, stop_ms in zip(kept[:3], stops_ms, strict=True):
        assert text and LONG.startswith(text) and text != LONG
        # The caller broke in after a second; a word that was cut off may count as heard or not.
        heard_ms = 1000 + (stop_ms or 0)
        longest = max(map(word_ms, LONG.split()))
        assert sum(map(word_ms, text.split())) == pytest.approx(heard_ms, abs=longest + 100 + room)


async def test_what_is_interrupted_before_it_was_heard_is_not_remembered(
    hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", f"{LONG}|Yes, of course.")
    async with platform() as at:
        # It breaks in on the first tick in which the agent is heard.
        call = await place_call(at.url, [hello, hello], barge_in_at_s=0.02)
        session = at.sessions.find(call.session_id)
        assert session and session.context
        kept = [str(message["content"]) for message in session.context.get_messages() if message["role"] == "assistant"]

    assert [turn.outcome for turn in call.turns] == ["interrupted", "answered"]
    assert sum(map(word_ms, call.turns[0].answered.split())) <= sum(map(word_ms, LONG.split()[:2])) + room_ms(call)
    assert kept == [turn.answered for turn in call.turns if turn.answered]
