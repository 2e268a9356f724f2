"""What a finalize answers: the text up to a sample, from a copy, whatever comes before, after or beside it."""

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from ears import Ear, running, silence, whole
from speech import pcm
from steps import context_of

from antiphon_asr.backends import Mode
from antiphon_asr.backends.nemo.context import RATE_HZ
from antiphon_asr.backends.nemo.engine import Engine

CONTEXTS_MS = (80, 160, 560, 1120)


@pytest.mark.parametrize("ms", CONTEXTS_MS)
async def test_the_text_is_that_of_the_whole_audio(model: Any, ms: int) -> None:
    audio = pcm(7.7, ms)
    with running(model) as engine:
        ear = Ear(engine, ms)
        await ear.hears(audio, seed=ms)
        heard = await ear.asked(Mode.COMMIT)
        await ear.close()
    assert heard.text == whole(model, ear.context, audio)
    assert len(heard.text) > 10


async def test_sixteen_at_once_hear_what_each_hears_alone(model: Any) -> None:
    audios = [pcm(4 + 0.3 * index, index) for index in range(16)]

    async def transcribed(engine: Engine, index: int) -> str:
        ear = Ear(engine, CONTEXTS_MS[index % 4])
        await ear.hears(audios[index], seed=index)
        heard = await ear.asked(Mode.COMMIT)
        await ear.close()
        return heard.text

    with running(model) as engine:
        together = await asyncio.gather(*(transcribed(engine, index) for index in range(16)))
        shared = engine.work()["live"].runs
        alone = [await transcribed(engine, index) for index in range(16)]
        assert 1.5 * shared < engine.work()["live"].runs - shared
    assert together == alone
    assert alone == [
        whole(model, context_of(model, CONTEXTS_MS[index % 4]), audio) for index, audio in enumerate(audios)
    ]
    assert len(set(alone)) == 16


@pytest.mark.parametrize("ms", CONTEXTS_MS)
async def test_speculating_every_200_ms_changes_nothing_and_is_right_each_time(model: Any, ms: int) -> None:
    audio = pcm(6, ms + 1)
    with running(model) as engine:
        ear, ends = Ear(engine, ms), range(3200, len(audio) + 1, 3200)
        speculated = []
        for start, end in zip((0, *ends), ends, strict=False):
            await ear.hears(audio[start:end], seed=end)
            speculated.append((end, ear.decoder.read(end, Mode.SPECULATE)))
        await ear.hears(audio[ends[-1] :])
        final = await ear.asked(Mode.COMMIT)
        texts = [(end, (await answer()).text) for end, answer in speculated]
        await ear.close()
    assert final.text == whole(model, ear.context, audio)
    assert texts == [(end, whole(model, ear.context, audio, end)) for end in ends]


@pytest.mark.parametrize("ms", CONTEXTS_MS)
@pytest.mark.parametrize("late_s", [0.0, 0.7])
async def test_a_commit_parts_two_utterances_and_loses_no_token(model: Any, ms: int, late_s: float) -> None:
    first, second = pcm(4, 11), pcm(4, 12)
    audio = np.concatenate([first, silence(1.5), second, silence(1.5)])
    end = len(first) + RATE_HZ // 4
    with running(model) as engine:
        ear = Ear(engine, ms)
        await ear.hears(audio[: end + int(late_s * RATE_HZ)])
        one = await ear.asked(Mode.COMMIT, end)
        await ear.hears(audio[ear.pushed :])
        two = await ear.asked(Mode.COMMIT)
        await ear.close()
    assert one.text == whole(model, ear.context, audio, end)
    # The live stream keeps its context, so what both say together is what the unbroken audio says.
    unbroken = whole(model, ear.context, audio)
    assert f"{one.text} {two.text}".replace(" ", "") == unbroken.replace(" ", "")
    assert one.text and two.text


async def test_a_commit_may_end_where_speech_goes_on(model: Any) -> None:
    audio, end = pcm(6, 13), 3 * RATE_HZ
    with running(model) as engine:
        ear = Ear(engine, 160)
        await ear.hears(audio)
        one = await ear.asked(Mode.COMMIT, end)
        two = await ear.asked(Mode.COMMIT)
        await ear.close()
    assert one.text == whole(model, ear.context, audio, end)
    assert two.text and whole(model, ear.context, audio).replace(" ", "").endswith(two.text.replace(" ", ""))


async def test_an_end_long_past_is_told_apart_by_when_tokens_came(model: Any) -> None:
    first, second = pcm(4, 14), pcm(9, 15)
    audio = np.concatenate([first, silence(1), second])
    end = len(first) + RATE_HZ // 2
    with running(model) as engine:
        ear = Ear(engine, 80)
        await ear.hears(audio)
        speculated = await ear.asked(Mode.SPECULATE, end)
        one = await ear.asked(Mode.COMMIT, end)
        two = await ear.asked(Mode.COMMIT)
        await ear.close()
    assert speculated.text == one.text == whole(model, ear.context, audio, end)
    assert (one.text + two.text).replace(" ", "") == whole(model, ear.context, audio).replace(" ", "")


async def test_a_commit_reuses_what_was_speculated_at_its_end(model: Any) -> None:
    with running(model) as engine:
        ear = Ear(engine)
        await ear.hears(pcm(3, 16))
        speculated = await ear.asked(Mode.SPECULATE)
        runs = engine.work()["flush"].runs
        committed = await ear.asked(Mode.COMMIT)
        assert committed.text == speculated.text
        assert committed.began_s is None and speculated.began_s is not None
        assert engine.work()["flush"].runs == runs
        await ear.close()


@pytest.mark.parametrize("ms", CONTEXTS_MS)
async def test_interims_only_grow_and_begin_the_final_text(model: Any, ms: int) -> None:
    audio = pcm(9, 17)
    with running(model) as engine:
        ear = Ear(engine, ms)
        for start in range(0, len(audio), 3200):
            await ear.hears(audio[start : start + 3200])
            await asyncio.sleep(0.005)
        final = await ear.asked(Mode.COMMIT)
        told = len(ear.interims)
        await ear.hears(pcm(4, 18))
        later = await ear.asked(Mode.COMMIT)
        await ear.close()
    texts = ["", *(heard.text for heard in ear.interims[:told]), final.text]
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    assert len(set(texts)) >= 4
    ends = [heard.end_sample for heard in ear.interims]
    assert ends == sorted(ends) and ends[-1] <= ear.pushed
    assert all(later.text.startswith(heard.text) for heard in ear.interims[told:])


async def test_words_have_times_and_confidences_when_asked_for(model: Any) -> None:
    audio = pcm(6, 19)
    with running(model) as engine:
        plain, timed = Ear(engine), Ear(engine, word_times=True)
        sure = Ear(engine, word_times=True, word_confidence=True)
        readings = []
        for ear in (plain, timed, sure):
            await ear.hears(audio)
            readings.append(await ear.asked(Mode.COMMIT))
            await ear.close()
    assert len({reading.text for reading in readings}) == 1
    assert readings[0].words == ()
    for reading in readings[1:]:
        assert " ".join(word.text for word in reading.words) == reading.text
        starts = [word.start_sample for word in reading.words]
        assert starts == sorted(starts) and starts[0] >= 0
        assert all(word.start_sample < word.end_sample <= len(audio) + RATE_HZ for word in reading.words)
    assert all(word.confidence is None for word in readings[1].words)
    assert all(0 <= word.confidence <= 1 for word in readings[2].words)
    assert len({word.confidence for word in readings[2].words}) > 1
    assert ear.interims and all(heard.words for heard in ear.interims)


async def test_after_long_silence_the_model_begins_afresh_and_hears_the_same(model: Any) -> None:
    speech = pcm(6, 1)
    with running(model, restart_after_s=8.0) as engine:
        ear = Ear(engine)
        await ear.hears(np.concatenate([pcm(3, 21), silence(20)]))
        await ear.asked(Mode.COMMIT)
        stream = ear.decoder._stream
        assert stream.origin > 11 * RATE_HZ and stream.origin % ear.context.frame_samples == 0
        origin, start = stream.origin, ear.pushed
        await ear.hears(speech)
        heard = await ear.asked(Mode.COMMIT)
        await ear.close()
    fresh = np.concatenate([np.zeros(start - origin, np.int16), speech])
    assert heard.text == whole(model, ear.context, fresh)
    assert heard.text


async def test_a_commit_that_reuses_a_flush_from_before_a_restart_says_nothing_twice(model: Any) -> None:
    with running(model, restart_after_s=4.0) as engine:
        ear = Ear(engine)
        await ear.hears(np.concatenate([pcm(4, 1), silence(1)]))
        end = ear.pushed
        speculated = await ear.asked(Mode.SPECULATE, end)
        await ear.hears(silence(7))
        await ear.asked(Mode.SPECULATE)
        stream = ear.decoder._stream
        assert stream.origin > end
        committed = await ear.asked(Mode.COMMIT, end)
        origin, start, speech = stream.origin, ear.pushed, pcm(3, 2)
        await ear.hears(speech)
        following = await ear.asked(Mode.COMMIT)
        assert stream.origin == origin
        await ear.close()
    assert committed.text == speculated.text and committed.text
    fresh = np.concatenate([np.zeros(start - origin, np.int16), speech])
    assert following.text == whole(model, ear.context, fresh) and following.text
