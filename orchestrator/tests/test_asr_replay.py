"""AntiphonSTTService when its recognizer is lost or drains: what another one hears again."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from asr_bot import FIRST, SECOND, listening, says, stops, used
from own_bot import audio, settles, silence, stub, tone
from pipecat.frames.frames import ErrorFrame, TranscriptionFrame, VADUserStartedSpeakingFrame
from pipecat.utils.errors import ErrorCategory

from antiphon_orchestrator.services import CommitTurnFrame, EmptyUtteranceFrame, SpeechPausedFrame
from antiphon_orchestrator.services import asr as asr_module
from antiphon_orchestrator.services.asr import LEAD_IN_S


async def test_a_recognizer_that_is_started_again_hears_the_utterance_again_and_answers_the_commit() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("asr"))
        async with listening(served) as (at, service):
            await says(at)
            await settles(lambda: served.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.4))
            await first.aclose()
            error = await at.up.until(ErrorFrame)
            assert error.category is ErrorCategory.CONNECTIVITY and service.is_usable
            await at.hear(silence(200))
            await at.send(CommitTurnFrame(sample=400 * 16))
            async with stub("asr", bind=served.target) as again:
                heard = await at.down.until(TranscriptionFrame)
                assert (heard.text, heard.finalized) == (FIRST, True)
                assert again.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.6)


async def test_a_commit_that_a_lost_recognizer_left_unanswered_is_asked_again_and_answered_once() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("asr"))
        async with listening(served) as (at, _):
            await says(at)
            # Its end lies ahead, so the first recognizer cannot answer it.
            await at.send(CommitTurnFrame(sample=500 * 16))
            await settles(lambda: served.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.4))
            await first.aclose()
            await at.up.until(ErrorFrame)
            async with stub("asr", bind=served.target) as again:
                await settles(lambda: used(again) == 1)
                await at.hear(silence(200))
                assert (await at.down.until(TranscriptionFrame)).text == FIRST
                await says(at)
                await at.send(CommitTurnFrame(sample=1000 * 16))
                assert (await at.down.until(TranscriptionFrame, 2)).text == SECOND


async def test_when_a_replica_is_lost_mid_utterance_another_one_answers() -> None:
    async with AsyncExitStack() as one, AsyncExitStack() as two:
        stacks = {await stack.enter_async_context(stub("asr")): stack for stack in (one, two)}
        async with listening(*stacks, commit_on_vad_stop=True) as (at, _):
            await says(at)
            busy, idle = sorted(stacks, key=used, reverse=True)
            await settles(lambda: busy.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.4))
            await stacks[busy].aclose()
            await stops(at)
            assert (await at.down.until(TranscriptionFrame)).text == FIRST
            assert used(idle) == 1


async def test_a_draining_replica_is_left_between_utterances() -> None:
    async with (
        stub("asr") as one,
        stub("asr") as two,
        listening(one, two, commit_on_vad_stop=True) as (
            at,
            service,
        ),
    ):
        await says(at)
        busy, idle = (one, two) if used(one) else (two, one)
        await settles(lambda: busy.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.4))
        busy.host.drain.start(30.0)
        await settles(lambda: service._renew_when_quiet)
        assert (used(busy), used(idle)) == (1, 0)
        await stops(at)
        await at.down.until(TranscriptionFrame)
        await settles(lambda: (used(busy), used(idle)) == (0, 1))
        await says(at)
        await stops(at)
        await at.down.until(TranscriptionFrame, 2)
        assert at.up.of(ErrorFrame) == []


async def test_a_quiet_callers_long_silence_is_not_sent_again() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("asr"))
        async with listening(served) as (at, _):
            await at.hear(silence(9000))
            await settles(lambda: served.sample("antiphon_asr_audio_seconds_total") == pytest.approx(9.0))
            await first.aclose()
            async with stub("asr", bind=served.target) as again:
                await settles(lambda: used(again) == 1)
                await at.send(CommitTurnFrame(sample=9000 * 16))
                await at.down.until(EmptyUtteranceFrame)
                assert again.sample("antiphon_asr_audio_seconds_total") <= LEAD_IN_S + 0.03


async def test_an_utterance_that_was_given_up_is_not_heard_again_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asr_module, "TEXT_S", 0.0)
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("asr"))
        async with listening(served) as (at, _):
            await says(at, 2000)
            # Its end lies ahead, so the recognizer cannot answer it in time.
            await at.send(CommitTurnFrame(sample=2020 * 16))
            await at.hear(silence(10))
            await at.down.until(EmptyUtteranceFrame)
            await first.aclose()
            async with stub("asr", bind=served.target) as again:
                await settles(lambda: used(again) == 1)
                await says(at)
                await settles(lambda: again.sample("antiphon_asr_audio_seconds_total") > 0.39)
                assert again.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.4, abs=0.021)


async def test_of_a_long_piece_of_audio_only_what_lies_after_the_commit_is_heard_again() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("asr"))
        async with listening(served) as (at, _):
            await at.send(VADUserStartedSpeakingFrame())
            await at.hear(tone(900), tick_ms=900)
            await at.send(CommitTurnFrame(sample=800 * 16))
            await at.down.until(TranscriptionFrame)
            await first.aclose()
            async with stub("asr", bind=served.target) as again:
                await settles(lambda: used(again) == 1)
                await at.send(VADUserStartedSpeakingFrame())
                await at.hear(tone(40))
                await settles(lambda: again.sample("antiphon_asr_audio_seconds_total") > 0.13)
                assert again.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.14)


async def test_tiny_frames_are_sent_in_pieces_and_none_of_them_is_lost() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("asr"))
        async with listening(served) as (at, service):
            sent: list[int] = []
            send = service._link.send

            def noted(request: Any) -> bool:
                if request.audio:
                    sent.append(len(request.audio) // 2)
                return bool(send(request))

            service._link.send = noted
            await at.send(VADUserStartedSpeakingFrame())
            pcm = tone(40)
            await at.send(*(audio(pcm[byte : byte + 2]) for byte in range(0, len(pcm), 2)))
            await at.hear(tone(30), tick_ms=10)
            await at.send(audio(tone(1)), SpeechPausedFrame(sample=71 * 16, silence_ms=0))
            await settles(lambda: sum(sent) == 71 * 16)
            assert sent[:4] == [144] * 4 and len(sent) == 8
            await first.aclose()
            async with stub("asr", bind=served.target) as again:
                await settles(lambda: used(again) == 1)
                await settles(lambda: again.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.071))
                assert len(service._kept) <= 8
