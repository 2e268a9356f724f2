"""The service on the tiny checkpoint, as its callers have it."""

import asyncio
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from nasty import nasty

from antiphon.tts.v1 import tts_pb2
from antiphon_runtime.rpc import error_reason

TEXT = "Sure, I can help you with that. The answer is more or less three! Shall we go on?"
MODES = [tts_pb2.SYNTHESIS_MODE_BATCH, tts_pb2.SYNTHESIS_MODE_STREAM, tts_pb2.SYNTHESIS_MODE_HYBRID]


async def test_ready_says_everything_that_is_in_effect(served: Any) -> None:
    config = (await served.hear(rate=0)).kind("ready")[0].config
    assert config.audio.sample_rate_hz == 22_050
    assert (config.model, config.voice, config.language_code) == ("tiny", "john", "en-US")
    assert config.mode == tts_pb2.SYNTHESIS_MODE_HYBRID
    assert config.sampling == tts_pb2.Sampling(
        temperature=0.7, top_k=80, seed=0, end_of_speech="argmax_or_multinomial_any"
    )
    again = await served.raw(tts_pb2.SynthesizeRequest(config=config))
    assert again.error is None and again.kind("ready")[0].config == config


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"voice": "emma"}, "UNKNOWN_VOICE"),
        ({"language_code": "de-DE"}, "UNKNOWN_LANGUAGE"),
        ({"sampling": tts_pb2.Sampling(temperature=2.5)}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": tts_pb2.Sampling(end_of_speech="never")}, "UNSUPPORTED_SAMPLING"),
    ],
)
async def test_what_is_not_there_is_refused(served: Any, fields: dict[str, Any], reason: str) -> None:
    heard = await served.hear("Hello.", **fields)
    assert (heard.error.code(), error_reason(heard.error)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
async def test_all_modes_say_the_same(served: Any, rate: int) -> None:
    said = [(await served.hear("Yes, of course we can.", rate=rate, mode=mode)).samples for mode in MODES]
    assert len(said[0]) > rate / 4
    for other in said[1:]:
        assert len(other) == len(said[0])
        # Windows differ in the rounding of float32, and that may be the other 16-bit step.
        assert np.abs(other.astype(int) - said[0].astype(int)).max() <= 1


async def test_words_are_the_given_ones_in_order_and_inside_the_audio(served: Any) -> None:
    heard = await served.hear(TEXT, rate=24_000)
    spoken = heard.kind("spoken")
    assert " ".join(heard.words) == TEXT
    assert all(a.start_ms <= a.end_ms <= b.end_ms and a.start_ms <= b.start_ms for a, b in pairwise(spoken))
    assert spoken[0].start_ms >= 0 and spoken[-1].end_ms <= len(heard.pcm) / 2 / 24
    assert spoken[-1].start_ms > len(heard.pcm) / 2 / 24 / 2
    sent_ms = 0.0
    for event in heard.events:
        if event.WhichOneof("event") == "spoken":
            assert event.spoken.end_ms >= int(sent_ms)
        elif event.WhichOneof("event") == "audio":
            assert event.audio.offset_sample == round(sent_ms * 24)
            sent_ms += len(event.audio.pcm) / 2 / 24


async def test_another_voice_or_seed_says_it_differently(served: Any) -> None:
    plain = await served.hear("Yes, of course.")
    again = await served.hear("Yes, of course.", sampling=tts_pb2.Sampling(seed=0))
    seed = await served.hear("Yes, of course.", sampling=tts_pb2.Sampling(seed=1))
    voice = await served.hear("Yes, of course.", voice="leo")
    cold = await served.hear("Yes, of course.", sampling=tts_pb2.Sampling(temperature=0))
    assert np.abs(again.samples.astype(int) - plain.samples.astype(int)).max() <= 1
    assert len({each.pcm for each in (plain, seed, voice, cold)}) == 4


async def test_streams_side_by_side_say_what_they_say_alone(served: Any) -> None:
    texts = ["First, second and third. Then four.", "Alpha, beta and gamma.", "One two.", "Yes! No?"]
    together = await asyncio.gather(*(served.hear(text) for text in texts))
    for text, heard in zip(texts, together, strict=True):
        alone = await served.hear(text)
        assert heard.error is None and heard.words == alone.words
        assert np.abs(heard.samples.astype(int) - alone.samples.astype(int)).max() <= 1


async def test_a_text_without_a_token_is_skipped(served: Any) -> None:
    heard = await served.hear("你好", 1, "Yes.")
    assert heard.error is None
    assert heard.kind("skipped")[0].text == "你好"
    assert heard.words == ["Yes."]


async def test_slots_come_back_and_metrics_count(served: Any) -> None:
    for number in range(12):
        call = served.call()
        await call.write(served.config())
        await call.write(served.request(TEXT))
        for _ in range(number % 4):
            await call.read()
        call.cancel()
        await served.idle()
    assert (await served.hear("Yes.")).error is None
    engine = served.loaded[0]._engine
    await served.until(lambda: engine.free_slots == 4)
    assert served.served.sample("antiphon_tts_slots_used") == 0
    assert served.served.sample("antiphon_tts_step_seconds_count", kind="step") > 0
    assert served.served.sample("antiphon_tts_batch_size_count", kind="vocode") > 0
    assert served.served.sample("antiphon_tts_real_time_factor") > 0
    assert served.served.sample("antiphon_tts_wasted_frames_total") > 0


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_nasty_texts_end_in_audio_or_a_typed_error(served: Any) -> None:
    # As short as a reply can be: what is tried here is the texts.
    served.loaded[0]._own = served.loaded[0]._own.model_copy(update={"frames_per_token": 0.01})
    texts = nasty(200)

    async def heard(text: str) -> None:
        reply = await served.hear(text)
        assert reply.error is None or error_reason(reply.error) not in ("", "INTERNAL", "BACKEND_FAILED"), text
        assert reply.error or reply.pcm or reply.kind("skipped") or not text.strip(), text

    for start in range(0, len(texts), 4):
        await asyncio.gather(*map(heard, texts[start : start + 4]))
    assert (await served.hear("Yes.")).words == ["Yes."]
    assert served.served.sample("antiphon_tts_slots_used") == 0
