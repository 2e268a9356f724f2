"""Conformance tests that every backend must pass."""

import asyncio
import random
from itertools import pairwise
from typing import Any

import grpc
import pytest
from nasty import nasty

from antiphon.tts.v1 import tts_pb2
from antiphon_runtime.rpc import error_reason
from antiphon_tts.backends import Sampling

TEXT = "Sure, I can help you with that. The answer is 3.14, more or less! Shall we go on?"


def refusal(heard: Any) -> tuple[grpc.StatusCode, str]:
    assert heard.error is not None
    return heard.error.code(), error_reason(heard.error)


async def test_the_first_request_must_be_config(tts: Any) -> None:
    heard = await tts.raw(tts.request("hello"))
    assert refusal(heard) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert (await tts.raw()).error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_second_config_is_refused(tts: Any) -> None:
    heard = await tts.hear(tts.config())
    assert refusal(heard) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")


async def test_ready_says_everything_that_is_in_effect(tts: Any) -> None:
    ready = (await tts.hear(rate=0)).kind("ready")[0]
    backend = tts.loaded[0]
    voice, languages = next(iter(backend.voices.items()))
    assert len(ready.stream_id) == 16
    assert (ready.config.audio.sample_rate_hz, ready.config.audio.encoding) == (backend.rate_hz, 1)
    assert (ready.config.model, ready.config.voice, ready.config.language_code) == (backend.model, voice, languages[0])
    assert ready.config.mode == tts_pb2.SYNTHESIS_MODE_STREAM
    wanted = backend.sampling(Sampling())
    assert ready.config.sampling == tts_pb2.Sampling(seed=wanted.seed)


async def test_what_ready_says_may_be_asked_for(tts: Any) -> None:
    config = (await tts.hear(rate=22050, mode=tts_pb2.SYNTHESIS_MODE_BATCH)).kind("ready")[0].config
    heard = await tts.raw(tts_pb2.SynthesizeRequest(config=config))
    assert heard.error is None
    assert heard.kind("ready")[0].config == config


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"encoding": 0}, "UNSUPPORTED_ENCODING"),
        ({"rate": 7999}, "UNSUPPORTED_SAMPLE_RATE"),
        ({"rate": 48001}, "UNSUPPORTED_SAMPLE_RATE"),
        ({"rate": -1}, "UNSUPPORTED_SAMPLE_RATE"),
        ({"model": "none"}, "UNKNOWN_MODEL"),
        ({"voice": "emma"}, "UNKNOWN_VOICE"),
        ({"language_code": "de-DE"}, "UNKNOWN_LANGUAGE"),
        ({"mode": tts_pb2.SYNTHESIS_MODE_HYBRID}, "UNSUPPORTED_MODE"),
        ({"mode": 99}, "UNSUPPORTED_MODE"),
        ({"sampling": tts_pb2.Sampling(temperature=0.5)}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": tts_pb2.Sampling(temperature=-1)}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": tts_pb2.Sampling(temperature=float("nan"))}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": tts_pb2.Sampling(top_k=-1)}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": tts_pb2.Sampling(top_k=50)}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": tts_pb2.Sampling(end_of_speech="never")}, "UNSUPPORTED_SAMPLING"),
    ],
)
async def test_what_is_not_there_is_refused(tts: Any, fields: dict[str, Any], reason: str) -> None:
    assert refusal(await tts.hear("Hello.", **fields)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_full_model_says_so_and_a_cancel_frees_the_slot(tts: Any) -> None:
    calls = [tts.call(), tts.call()]
    for call in calls:
        await call.write(tts.config())
        await call.read()
    assert refusal(await tts.hear("Hello.")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SLOT")
    calls[0].cancel()
    async with asyncio.timeout(60):
        while (await tts.hear("Hello.")).error is not None:
            pass
    calls[1].cancel()


async def test_half_close_speaks_the_rest_and_ends_well(tts: Any) -> None:
    heard = await tts.hear("Hello there")
    assert heard.error is None
    assert heard.words == ["Hello", "there"]
    assert len(heard.pcm) > 0


async def test_a_flush_speaks_what_is_held_and_is_answered_after_its_audio(tts: Any) -> None:
    heard = await tts.hear("Hello there", 7, " my friend", 8)
    assert heard.words == ["Hello", "there", "my", "friend"]
    kinds = [event.WhichOneof("event") for event in heard.events]
    assert [flushed.mark for flushed in heard.kind("flushed")] == [7, 8]
    assert kinds[kinds.index("flushed") - 1] == "audio"
    assert kinds[-1] == "flushed"
    assert "audio" in kinds[kinds.index("flushed") :]


async def test_audio_is_numbered_and_placed_without_gaps(tts: Any) -> None:
    audio = (await tts.hear(TEXT, rate=22050)).kind("audio")
    assert [event.sequence for event in audio] == list(range(len(audio)))
    offset = 0
    for event in audio:
        assert event.offset_sample == offset
        assert event.pcm and len(event.pcm) % 2 == 0
        assert len(event.pcm) <= 22050 * 80 // 1000 * 2
        offset += len(event.pcm) // 2


async def test_each_segment_says_where_its_time_went(tts: Any) -> None:
    timed = [event for event in (await tts.hear(TEXT)).kind("audio") if event.HasField("timings")]
    assert len(timed) == 3
    assert timed[0].offset_sample == 0
    assert all(event.timings.queue_ms >= 0 and event.timings.compute_ms >= 0 for event in timed)


async def test_words_are_the_given_ones_in_order_and_inside_the_audio(tts: Any) -> None:
    heard = await tts.hear("**Sure**, go to 'https://example.com/x' 🙂 now. It costs $5, Dr. Smith!", rate=24000)
    spoken = heard.kind("spoken")
    assert " ".join(heard.words) == "**Sure**, go to 'https://example.com/x' 🙂 now. It costs $5, Dr. Smith!"
    assert spoken[0].start_ms <= 10
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(spoken))
    assert all(word.start_ms < word.end_ms for word in spoken)
    assert spoken[-1].end_ms <= len(heard.pcm) / 2 / 24


async def test_words_are_sent_before_their_audio_has_ended(tts: Any) -> None:
    sent_ms = 0.0
    for event in (await tts.hear(TEXT)).events:
        if event.WhichOneof("event") == "spoken":
            assert event.spoken.end_ms >= int(sent_ms)
        elif event.WhichOneof("event") == "audio":
            sent_ms += len(event.audio.pcm) / 2 / 16


async def test_tokens_make_the_audio_that_the_whole_text_makes(tts: Any) -> None:
    whole = await tts.hear(TEXT)
    rng, at, pieces = random.Random(1), 0, []
    while at < len(TEXT):
        step = rng.randint(1, 6)
        pieces.append(TEXT[at : at + step])
        at += step
    streamed = await tts.hear(*pieces)
    assert streamed.pcm == whole.pcm
    assert streamed.kind("spoken") == whole.kind("spoken")


async def test_the_same_text_is_the_same_audio(tts: Any) -> None:
    assert (await tts.hear(TEXT)).pcm == (await tts.hear(TEXT)).pcm


@pytest.mark.parametrize("text", ["🎉🎉", "...", "* * *", "---", "?!", "<br>", "|---|---|", "\x00\x07"])
async def test_what_cannot_be_said_is_skipped_and_told(tts: Any, text: str) -> None:
    heard = await tts.hear(text, 1, "Yes.")
    assert heard.error is None
    assert [event.WhichOneof("event") for event in heard.events[:3]] == ["ready", "skipped", "flushed"]
    assert heard.kind("skipped")[0].text == text
    assert heard.words == ["Yes."]
    assert tts.served.sample("antiphon_tts_skipped_segments_total") == 1


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
async def test_of_nothing_nothing_is_said(tts: Any, text: str) -> None:
    heard = await tts.hear(text, 1, "Yes.")
    assert heard.error is None
    assert [event.WhichOneof("event") for event in heard.events[:2]] == ["ready", "flushed"]
    assert heard.words == ["Yes."]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nasty_texts_end_in_audio_or_a_typed_error(tts: Any) -> None:
    for text in nasty(200):
        heard = await tts.hear(text)
        assert heard.error is None or error_reason(heard.error) not in ("", "INTERNAL"), text
        assert heard.error or heard.pcm or heard.kind("skipped") or not text.strip(), text
    assert (await tts.hear("Yes.")).words == ["Yes."]
    assert tts.served.sample("antiphon_tts_slots_used") == 0


async def test_batch_holds_everything_until_it_is_flushed(tts: Any) -> None:
    call = tts.call()
    await call.write(tts.config(mode=tts_pb2.SYNTHESIS_MODE_BATCH))
    await call.read()
    await call.write(tts.request("One, two, three, four, five. Six "))
    await call.write(tts.request("seven."))
    await call.write(tts.request(1))
    events = []
    while (event := await call.read()).WhichOneof("event") != "flushed":
        events.append(event)
    await call.done_writing()
    assert [e.spoken.text for e in events if e.WhichOneof("event") == "spoken"] == (
        ["One,", "two,", "three,", "four,", "five.", "Six", "seven."]
    )
    assert len([e for e in events if e.audio.HasField("timings")]) == 2
    assert await call.code() is grpc.StatusCode.OK


async def test_too_much_text_is_refused(tts: Any) -> None:
    heard = await tts.hear("word " * 5000)
    assert refusal(heard) == (grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG")


async def test_three_hundred_words_without_a_mark_are_all_said(tts: Any) -> None:
    heard = await tts.hear(" ".join(["word"] * 300))
    assert heard.error is None
    assert heard.words == ["word"] * 300


async def test_streams_are_spoken_side_by_side(tts: Any) -> None:
    texts = ["First, second and third. Then the fourth.", "Alpha, beta and gamma. Then the delta."]
    both = await asyncio.gather(*(tts.hear(text) for text in texts))
    for text, heard in zip(texts, both, strict=True):
        assert heard.pcm == (await tts.hear(text)).pcm


async def test_many_streams_leave_no_slot_and_no_task(tts: Any) -> None:
    await tts.hear("Yes.")
    before = len(asyncio.all_tasks())
    for number in range(50):
        if number % 2:
            assert (await tts.hear("Yes.")).error is None
        else:
            call = tts.call()
            await call.write(tts.config())
            await call.write(tts.request("One, two, three, four. Five six seven."))
            await call.read()
            call.cancel()
        await tts.idle()
    assert tts.served.sample("antiphon_tts_slots_used") == 0
    await tts.until(lambda: len(asyncio.all_tasks()) <= before)
