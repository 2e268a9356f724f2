"""AntiphonSTTService alone in a bot of one's own."""

import pytest
from asr_bot import FIRST, SECOND, finalized, listening, says, stops, used
from own_bot import NOWHERE, RATE, audio, settles, silence, stub, tone
from pipecat.frames.frames import (
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    MetricsFrame,
    STTMuteFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.utils.errors import ErrorCategory

from antiphon_orchestrator.services import CommitTurnFrame, EmptyUtteranceFrame, PauseTextFrame, SpeechPausedFrame
from antiphon_orchestrator.services import asr as asr_module
from antiphon_runtime.testing import Served


async def test_with_a_vad_of_ones_own_each_stop_commits() -> None:
    async with stub("asr") as served, listening(served, commit_on_vad_stop=True) as (at, _):
        for count, text in ((1, FIRST), (2, SECOND)):
            await says(at)
            await stops(at)
            heard = await at.down.until(TranscriptionFrame, count)
            assert (heard.text, heard.finalized) == (text, True)
        assert at.down.of(EmptyUtteranceFrame) == []


async def test_without_being_told_so_a_vad_stop_commits_nothing() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await says(at)
        await stops(at)
        await at.send(CommitTurnFrame(sample=400 * 16))
        await at.down.until(TranscriptionFrame)
        assert finalized(served, "commit") == 1


async def test_a_pause_is_speculated_on_and_only_the_commit_is_told_as_heard() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await says(at)
        await at.hear(silence(100))
        await at.send(SpeechPausedFrame(sample=400 * 16, silence_ms=100))
        for side in (at.up, at.down):  # the turn's policy stands before, the answer after
            guessed = await side.until(PauseTextFrame)
            assert (guessed.sample, guessed.text) == (400 * 16, FIRST)
        await at.hear(silence(100))
        await at.send(CommitTurnFrame(sample=400 * 16))
        heard = await at.down.until(TranscriptionFrame)
        assert (heard.text, heard.finalized) == (FIRST, True)
        assert len(at.down.of(TranscriptionFrame)) == 1
        assert [finalized(served, mode) for mode in ("speculate", "commit")] == [1, 1]


async def test_what_is_said_after_the_committed_sample_belongs_to_the_next_utterance() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await says(at, 400)
        await at.hear(silence(200))
        await says(at, 400)
        await at.send(CommitTurnFrame(sample=500 * 16), CommitTurnFrame(sample=1000 * 16))
        await at.down.until(TranscriptionFrame, 2)
        heard = at.down.of(TranscriptionFrame)
        assert [(frame.text, frame.finalized) for frame in heard] == [(FIRST, True), (SECOND, True)]


async def test_a_context_that_the_recognizer_does_not_have_is_an_error_for_good() -> None:
    async with stub("asr") as served, listening(targets=[served.target], context_ms=560) as (at, service):
        error = await at.up.until(ErrorFrame)
        assert "unknown context_ms 560: this model has no choice" in error.error
        assert not service.is_usable


async def test_interim_texts_come_while_the_caller_speaks() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await says(at, 1000)
        await at.down.until(InterimTranscriptionFrame)
        assert FIRST.startswith(at.down.of(InterimTranscriptionFrame)[0].text)


async def test_noise_is_an_empty_utterance_and_never_an_empty_text() -> None:
    async with stub("asr") as served, listening(served, commit_on_vad_stop=True) as (at, _):
        await at.send(VADUserStartedSpeakingFrame())
        await stops(at)
        assert (await at.down.until(EmptyUtteranceFrame)).error == ""
        await says(at)
        await stops(at)
        await at.down.until(TranscriptionFrame)
        assert [frame.text for frame in at.down.of(TranscriptionFrame)] == [FIRST]


async def test_speech_that_goes_on_leaves_the_text_unfinalized() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await says(at)
        # Answered only when the audio up to there has come, which is after the caller has gone on.
        await at.send(CommitTurnFrame(sample=500 * 16))
        await says(at, 200)
        heard = await at.down.until(TranscriptionFrame)
        assert (heard.text, heard.finalized) == (FIRST, False)


async def test_the_audio_goes_on_down_the_pipeline() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await at.hear(tone(100))
        await at.down.until(InputAudioRawFrame, 5)


async def test_the_time_to_the_final_text_is_measured() -> None:
    async with stub("asr") as served, listening(served, commit_on_vad_stop=True) as (at, service):
        await says(at)
        await stops(at)
        await at.down.until(TranscriptionFrame)
        measured = [data for frame in at.down.of(MetricsFrame) for data in frame.data]
        assert [data.processor for data in measured if isinstance(data, TTFBMetricsData)] == [service.name]


async def test_the_slot_is_held_for_the_whole_call_and_no_longer() -> None:
    async with stub("asr") as served:
        async with listening(served, commit_on_vad_stop=True) as (at, _):
            await says(at)
            await stops(at)
            await at.down.until(TranscriptionFrame)
            assert used(served) == 1
        await settles(lambda: used(served) == 0)


async def test_muted_audio_is_not_heard_and_the_samples_still_count() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await at.send(STTMuteFrame(mute=True))
        await at.hear(tone(1000))
        await at.send(STTMuteFrame(mute=False), CommitTurnFrame(sample=1000 * 16))
        await at.down.until(EmptyUtteranceFrame)
        await says(at)
        await at.send(CommitTurnFrame(sample=1400 * 16))
        assert (await at.down.until(TranscriptionFrame)).text == FIRST


async def test_a_text_that_does_not_come_is_given_up_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr_module, "TEXT_S", 0.0)
    async with listening(targets=[NOWHERE]) as (at, _):
        await at.up.until(ErrorFrame)
        await says(at)
        await at.send(CommitTurnFrame(sample=400 * 16))
        await at.hear(silence(20))
        assert (await at.down.until(EmptyUtteranceFrame)).error.startswith("asr: ")


async def test_a_language_that_the_service_does_not_have_leaves_it_unusable() -> None:
    async with stub("asr") as served, listening(targets=[served.target], language="xx") as (at, service):
        error = await at.up.until(ErrorFrame)
        assert "language" in error.error and error.category is ErrorCategory.INVALID_REQUEST
        assert not service.is_usable
        await says(at)
        await at.send(CommitTurnFrame(sample=400 * 16))
        await at.hear(silence(20))
        assert "language" in (await at.down.until(EmptyUtteranceFrame)).error


async def test_audio_of_any_length_is_taken() -> None:
    async with stub("asr") as served, listening(served) as (at, _):
        await at.send(VADUserStartedSpeakingFrame())
        for ms in (10, 30, 60, 300):
            await at.send(audio(tone(ms)))
        await at.send(CommitTurnFrame(sample=RATE * 400 // 1000))
        await at.down.until(TranscriptionFrame)
        assert served.sample("antiphon_asr_audio_seconds_total") == pytest.approx(0.4)


async def test_quiet_audio_is_sent_in_larger_pieces_and_at_once_when_somebody_speaks() -> None:
    def seconds(served: Served) -> float:
        return served.sample("antiphon_asr_audio_seconds_total")

    async with stub("asr") as served, listening(served) as (at, _):
        await at.hear(silence(160))
        await settles(lambda: seconds(served) == pytest.approx(0.1))
        await at.send(VADUserStartedSpeakingFrame())
        await settles(lambda: seconds(served) == pytest.approx(0.16))
        await at.hear(tone(20))
        await settles(lambda: seconds(served) == pytest.approx(0.18))
        await at.send(CommitTurnFrame(sample=180 * 16))
        assert (await at.down.until(TranscriptionFrame)).text == FIRST
        await at.hear(silence(20))
        await at.send(SpeechPausedFrame(sample=200 * 16))  # what is asked about has been sent before
        await settles(lambda: seconds(served) == pytest.approx(0.2))
