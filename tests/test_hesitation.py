"""Callers who pause and go on: an answer that was begun in the pause reaches nobody and is not remembered."""

import asyncio
from typing import Any

import pytest
from platform_fixture import AVA, Platform, platform, until
from raw_caller import RawCaller, dialled, silence, speech

TURNS = 3


@pytest.fixture(autouse=True)
def quick_verdicts_and_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause sounds like an end, and its answer is not yet there when the caller goes on."""
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", "What is the time in Rome?")
    monkeypatch.setenv("ANTIPHON_TURN_STUB__COMPLETE_AFTER_MS", "60")
    monkeypatch.setenv("ANTIPHON_LLM_STUB__SCRIPT", "Yes: {last}")
    monkeypatch.setenv("ANTIPHON_LLM_STUB__PROFILE", "dgx-spark")


async def hesitates(at: Platform, caller: RawCaller) -> None:
    """Speaks and pauses, until the pause is being answered. The clock of a pause is its audio.

    A pause before the recognizer is reached has no text to answer, so it is made to hear something first.
    """
    await caller.say(silence(0.1))
    await until(lambda: at.services["asr"].sample("antiphon_asr_audio_seconds_total") > 0)
    await caller.say(speech(1.0) + silence(0.14))
    await until(lambda: at.slots_used()["llm"] == 1)


async def messages(at: Platform, caller: RawCaller) -> list[dict[str, Any]]:
    session = at.sessions.find(caller.session_id)
    assert session and session.context
    return [dict(message) for message in session.context.get_messages()]  # type: ignore[call-overload]


async def test_answers_to_pauses_are_dropped_freed_and_forgotten() -> None:
    agent = AVA.model_copy(update={"llm_calls_per_turn": 2.0})
    async with platform(agents={"ava": agent}) as at:
        async with dialled(at.url) as caller:
            await caller.until_session()
            turns = []
            for number in range(1, TURNS + 1):
                await hesitates(at, caller)
                await caller.say(speech(1.4))
                await until(lambda n=number: at.rpcs("llm", "cancelled") == n)
                await until(lambda n=number: at.rpcs("tts", "cancelled") == n)
                turns.append(await caller.report())
            kept = await messages(at, caller)
        await until(at.idle)

    assert [turn["outcome"] for turn in turns] == ["answered"] * TURNS
    # On a busy machine one may be withdrawn before anything has come of it: then it has not been a call.
    assert {(turn["dropped"], turn["llm_calls"]) for turn in turns} <= {(1, 2), (0, 1)}
    assert any(turn["dropped"] for turn in turns)
    assert all(turn["answered"] == f"Yes: {turn['heard']}" for turn in turns)
    said = [(message["role"], message["content"]) for message in kept]
    assert said == [
        entry for turn in turns for entry in (("user", turn["heard"]), ("assistant", f"Yes: {turn['heard']}"))
    ]


async def test_an_answer_that_was_begun_in_the_last_pause_is_the_turns() -> None:
    async with platform() as at, dialled(at.url) as caller:
        await caller.until_session()
        await hesitates(at, caller)
        turn = await caller.report()
        assert (turn["outcome"], turn["speculated"], turn["dropped"], turn["llm_calls"]) == ("answered", True, 0, 1)
        first_token = next(span for span in turn["spans"] if span["name"] == "llm first token")
        pause = next(stage for stage in turn["stages"] if stage["name"] == "pause")
        assert first_token["start_ms"] < pause["end_ms"]
        assert at.rpcs("llm", "cancelled") == at.rpcs("tts", "cancelled") == 0


async def test_without_a_budget_no_pause_is_answered_before_its_turn_is_over() -> None:
    agent = AVA.model_copy(update={"llm_calls_per_turn": 1.0})
    async with platform(agents={"ava": agent}) as at, dialled(at.url) as caller:
        await caller.until_session()
        await caller.say(speech(1.0) + silence(0.14))
        await asyncio.sleep(0.3)
        assert at.slots_used()["llm"] == 0
        turn = await caller.turn(speech(1.4))
        assert (turn["outcome"], turn["speculated"], turn["dropped"], turn["llm_calls"]) == ("answered", False, 0, 1)
