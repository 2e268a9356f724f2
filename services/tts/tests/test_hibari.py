"""The real voice."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hibari")

from antiphon_tts.backends import Sampling, Voice
from antiphon_tts.backends.hibari import HibariSynthesizer
from antiphon_tts.backends.trimming import Pauses, sound, trim
from antiphon_tts.cleaning import clean
from antiphon_tts.settings import Settings

pytestmark = pytest.mark.real
VOICE = Voice("heart", 24000)


@pytest.fixture(scope="module")
def hibari() -> Iterator[HibariSynthesizer]:
    loaded = HibariSynthesizer.load(Settings())
    yield loaded
    loaded.close()


def floats(pcm: bytes) -> Any:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32767


@pytest.mark.parametrize(
    ("text", "pause_ms"), [("Sure, of course,", 120), ("I can help.", 250), ("Shall we?", 250), ("I would like", 30)]
)
def test_a_segment_starts_at_once_and_ends_in_its_pause(hibari: HibariSynthesizer, text: str, pause_ms: int) -> None:
    samples = floats(hibari.say(clean(text), VOICE).pcm)
    begin, end = sound(samples, 24000)
    assert begin / 24 <= 15
    assert (len(samples) - end) / 24 == pytest.approx(pause_ms, abs=10)


def test_a_list_item_ends_like_a_sentence(hibari: HibariSynthesizer) -> None:
    assert len(hibari.say(clean("one thing\n"), VOICE).pcm) > len(hibari.say(clean("one thing"), VOICE).pcm)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 48000])
def test_speech_has_sound_and_a_plausible_length_at_every_rate(hibari: HibariSynthesizer, rate: int) -> None:
    speech = hibari.say(clean("The quick brown fox jumps over the lazy dog."), Voice("heart", rate))
    samples = floats(speech.pcm)
    assert 1.8 < len(samples) / rate < 4.0
    assert 0.02 < float(np.sqrt(np.mean(samples**2))) < 0.3
    assert 0.1 < float(abs(samples).max()) < 1.0


def test_words_are_timed_by_the_model(hibari: HibariSynthesizer) -> None:
    speech = hibari.say(clean("Wait a moment, please."), VOICE)
    samples = floats(speech.pcm)
    spans = {said.text: (said.start, said.end) for said in speech.said}
    assert list(spans) == ["Wait", "a", "moment,", "please."]
    assert spans["a"][1] - spans["a"][0] < spans["Wait"][1] - spans["Wait"][0]
    energy = [float(np.sqrt(np.mean(samples[at : at + 1200] ** 2))) for at in range(0, spans["please."][1] - 1200, 240)]
    quietest = energy.index(min(energy)) * 240 + 600
    assert spans["moment,"][0] < quietest <= spans["please."][0] + 2400


def test_numbers_and_addresses_stretch_their_word(hibari: HibariSynthesizer) -> None:
    said = hibari.say(clean("Pay $1,234.50 at https://www.example.com today."), VOICE).said
    lengths = {word.text: word.end - word.start for word in said}
    assert list(lengths) == ["Pay", "$1,234.50", "at", "https://www.example.com", "today."]
    assert lengths["$1,234.50"] > 5 * lengths["Pay"]
    assert lengths["https://www.example.com"] > 2 * lengths["Pay"]


@pytest.mark.parametrize("text", ["你好，世界。", "、", "ж", "©"])
def test_what_the_model_cannot_read_is_no_audio_and_no_error(hibari: HibariSynthesizer, text: str) -> None:
    speech = hibari.say(clean(text), VOICE)
    assert len(speech.pcm) == 0 or speech.said


def test_long_runs_are_said_in_several_inferences(hibari: HibariSynthesizer) -> None:
    text = " ".join(["9999999"] * 25)
    said = hibari.say(clean(text), VOICE).said
    assert [word.text for word in said] == text.split()
    assert all(word.start < word.end for word in said)


def test_silence_is_cut_and_filled_to_the_pauses() -> None:
    tone = np.sin(np.arange(2400) / 10).astype(np.float32)
    for silence in (0, 120, 9600):
        padded = np.concatenate((np.zeros(silence, np.float32), tone, np.zeros(silence, np.float32)))
        trimmed = trim(padded, Pauses(10, 100), 24000)
        assert (trimmed.voice_start, trimmed.voice_end, len(trimmed.samples)) == (240, 2640, 5040)
        assert trimmed.start == silence - 240
    assert len(trim(np.zeros(100, np.float32), Pauses(10, 100), 24000).samples) == 0


async def test_a_cancelled_reply_costs_at_most_the_inference_in_progress(serve: Any) -> None:
    async with serve("hibari") as tts:
        backend = tts.loaded[0]
        call = tts.call()
        await call.write(tts.config())
        await call.read()
        sentence = "This is one of the many sentences of a very long reply that nobody is going to hear. "
        await call.write(tts.request(sentence * 40))
        while (await call.read()).WhichOneof("event") != "audio":
            pass
        before = backend.pieces
        call.cancel()
        await tts.idle()
        # The one thread serves in turn: whatever was queued would run before this, which is three pieces.
        assert (await tts.hear("Yes.")).error is None
        assert backend.pieces <= before + 2 + 3
        assert before < 40 * 3


async def test_a_cancel_within_a_clause_stops_at_the_next_piece(hibari: HibariSynthesizer) -> None:
    before = hibari.pieces
    speaking = hibari.speak(clean("word " * 35), VOICE, 0.0)
    first = asyncio.ensure_future(anext(speaking))
    while hibari.pieces == before:  # noqa: ASYNC110
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [len(speech.pcm) > 0 async for speech in hibari.speak(clean("Yes."), VOICE, 0.0)] == [True]
    assert hibari.pieces == before + 1 + 3


def test_another_seed_is_another_noise(hibari: HibariSynthesizer) -> None:
    said = [hibari.say(clean("Yes."), replace(VOICE, sampling=Sampling(seed=seed))).pcm for seed in (0, 0, 1)]
    assert said[0] == said[1] != said[2]


async def test_a_new_stream_is_heard_while_a_long_reply_is_made(serve: Any) -> None:
    async with serve("hibari", ahead_s=600) as tts:
        sentence = "This is one of the many sentences of a very long reply, and it goes on. "
        long = asyncio.create_task(tts.hear(sentence * 40))
        await tts.until(lambda: tts.loaded[0].pieces > 0)
        assert len((await tts.hear("Yes, here I am.")).pcm) > 0
        assert not long.done()
        assert (await long).error is None
