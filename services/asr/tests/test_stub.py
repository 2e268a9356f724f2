"""The stub's script, which tests of the whole pipeline rely on."""

from collections.abc import AsyncIterator

import pytest
from asr_caller import COMMIT, RATE, SPECULATE, asr, audio, chunks, config, finalize, loud, silence, stream

from antiphon_asr.backends.stub import PROFILES
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.testing import Served


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setenv("ANTIPHON_ASR_STUB__SCRIPT", "one two three | four five")
    async with asr() as service:
        yield service


async def test_each_utterance_has_the_scripts_next_text_and_the_script_repeats(served: Served) -> None:
    texts = []
    async with stream(served) as call:
        for id in range(3):
            await call.send(audio(loud(800)))
            texts.append((await call.ask(id, COMMIT)).text)
    assert texts == ["one two three", "four five", "one two three"]


async def test_speculating_shows_the_text_and_changes_nothing(served: Served) -> None:
    async with stream(served) as call:
        await call.send(audio(loud(800)))
        peeks = [(await call.ask(id, SPECULATE)).text for id in range(3)]
        assert peeks == ["one two three"] * 3
        assert (await call.ask(3, COMMIT)).text == "one two three"
        assert (await call.ask(4, SPECULATE)).empty


async def test_silence_is_empty_and_uses_up_no_text(served: Served) -> None:
    async with stream(served) as call:
        await call.send(audio(silence(RATE)))
        assert (await call.ask(1, COMMIT)).empty
        await call.send(audio(loud(1)))
        assert (await call.ask(2, COMMIT)).text == "one two three"


async def test_a_commit_cuts_at_its_very_sample(served: Served) -> None:
    async with stream(served) as call:
        await call.send(audio(silence(1000) + loud(1) + silence(1000) + loud(1)))
        assert (await call.ask(1, COMMIT, 1000)).empty
        assert (await call.ask(2, SPECULATE, 1001)).text == "one two three"
        assert (await call.ask(3, COMMIT, 1001)).text == "one two three"
        assert (await call.ask(4, COMMIT, 2001)).empty
        assert (await call.ask(5, COMMIT, 2002)).text == "four five"


async def test_speech_is_remembered_for_as_long_as_an_utterance_lasts(served: Served) -> None:
    async with stream(served) as call:
        await call.send(audio(loud(1)), *chunks(silence(60 * RATE)))
        assert (await call.ask(1, COMMIT)).text == "one two three"
        await call.send(*chunks(silence(60 * RATE)))
        assert (await call.ask(2, COMMIT)).empty


async def test_interims_reveal_a_word_for_each_200_ms_of_speech(served: Served) -> None:
    async with stream(served, config(interim_results=True)) as call:
        heard = []
        for _ in range(3):
            await call.send(audio(silence(1600) + loud(3200)))
            event = await call.event()
            heard.append((event.transcript.text, event.transcript.end_sample))
        assert heard == [("one", 4800), ("one two", 9600), ("one two three", 14_400)]
        await call.send(finalize(1, COMMIT, 9600))
        assert (await call.finalized()).text == "one two three"
        assert (await call.event()).transcript.text == "four"


async def test_without_interim_results_there_are_none(served: Served) -> None:
    async with stream(served) as call:
        await call.send(*chunks(loud(3 * RATE)))
        assert (await call.event_after_commit(1)).WhichOneof("event") == "finalized"


async def test_a_profile_delays_each_answer_the_same_way_in_every_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_STUB__PROFILE", "rtx5090")
    least_ms = PROFILES["rtx5090"].at(0.0) * 1000
    async with asr() as served, stream(served) as call:
        answer = await call.ask(1, COMMIT)
    # The clocks of timers and of measurement may differ by a tick.
    assert answer.timings.compute_ms > least_ms - 1


async def test_what_was_speculated_on_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_STUB__PROFILE", "rtx5090")
    least_ms = PROFILES["rtx5090"].at(0.0) * 1000
    async with asr() as served, stream(served) as call:
        await call.send(*chunks(loud(RATE)))
        speculated = await call.ask(1, SPECULATE, RATE)
        committed = await call.ask(2, COMMIT, RATE)
    assert committed.text == speculated.text
    assert speculated.timings.compute_ms > least_ms - 1 > committed.timings.compute_ms


@pytest.mark.parametrize(("setting", "value"), [("PROFILE", "abacus"), ("SCRIPT", " | "), ("SCRIPTS", "a")])
async def test_a_setting_that_makes_no_sense_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(f"ANTIPHON_ASR_STUB__{setting}", value)
    with pytest.raises(ConfigError):
        async with asr():
            pass
