"""AntiphonTurnProcessor alone in a bot of one's own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from own_bot import IMPATIENT, NOWHERE, RATE, Bot, bot, dialled, settles, silence, stub, tone
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from antiphon_orchestrator.services import (
    AntiphonTurnProcessor,
    CommitTurnFrame,
    SpeechPausedFrame,
    TurnVerdictFrame,
)
from antiphon_orchestrator.services.local_turn import LocalTurn
from antiphon_runtime.testing import Served

EDGES = (VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame, SpeechPausedFrame, TurnVerdictFrame)
MS = RATE // 1000


@asynccontextmanager
async def following(
    *services: Served, targets: Sequence[str] = (), **options: Any
) -> AsyncIterator[tuple[Bot, AntiphonTurnProcessor]]:
    """A bot whose stream to one of the services is open; with `targets` instead, it is not waited for."""
    async with dialled("turn", *(targets or [served.target for served in services]), policy=IMPATIENT) as replicas:
        processor = AntiphonTurnProcessor(replicas=replicas, **options)
        async with bot(processor) as at:
            await settles(lambda: targets or connected(processor))
            yield at, processor


def connected(processor: AntiphonTurnProcessor) -> bool:
    return bool(processor._link and processor._link.connected)


def used(served: Served) -> float:
    return served.sample("antiphon_turn_slots_used")


def edges(at: Bot) -> list[str]:
    """What was told of the caller, in order."""
    return [_told(frame) for frame in at.down.frames if isinstance(frame, EDGES)]


def _told(frame: Frame) -> str:
    match frame:
        case SpeechPausedFrame():
            return f"paused {frame.sample / MS:g} after {frame.silence_ms}"
        case TurnVerdictFrame():
            return f"verdict {frame.sample / MS:g} after {frame.silence_ms}: {frame.complete}"
        case VADUserStartedSpeakingFrame():
            return "started"
        case _:
            return "stopped"


async def test_speech_its_pause_its_end_and_the_verdicts_are_told_in_order() -> None:
    async with stub("turn") as served, following(served) as (at, _):
        await at.hear(silence(200) + tone(400))
        await at.down.until(VADUserStartedSpeakingFrame)
        await at.hear(silence(150))
        await at.down.until(TurnVerdictFrame)
        await at.hear(silence(150))
        await at.down.until(TurnVerdictFrame, 2)
        told = edges(at)
        told.remove("stopped")  # comes with the audio, so before or after the verdict
        assert told == ["started", "paused 600 after 100", "verdict 600 after 96: False", "verdict 600 after 200: True"]


async def test_pipecats_vad_frames_go_both_ways_and_ours_go_down() -> None:
    async with stub("turn") as served, following(served) as (at, _):
        await at.hear(tone(400))
        await at.down.until(VADUserStartedSpeakingFrame)
        await at.hear(silence(140))
        await at.down.until(SpeechPausedFrame)
        await at.hear(silence(100))
        for seen in (at.up, at.down):
            await seen.until(VADUserStartedSpeakingFrame)
            assert (await seen.until(VADUserStoppedSpeakingFrame)).stop_secs == 0.2
        assert at.up.of(SpeechPausedFrame) == []


async def test_the_caller_has_stopped_once_so_much_silence_has_been_heard_and_not_before() -> None:
    async with stub("turn") as served, following(served, stop_ms=300) as (at, _):
        await at.hear(tone(400) + silence(280))
        await at.down.until(SpeechPausedFrame)
        await at.down.until(InputAudioRawFrame, 34)
        assert at.down.of(VADUserStoppedSpeakingFrame) == []
        await at.hear(silence(20))
        assert (await at.down.until(VADUserStoppedSpeakingFrame)).stop_secs == 0.3


async def test_speech_that_goes_on_before_the_stop_is_one_stretch() -> None:
    async with stub("turn") as served, following(served, stop_ms=1000) as (at, _):
        await at.hear(tone(400) + silence(160))
        await at.down.until(SpeechPausedFrame)
        await at.hear(tone(400) + silence(160))
        second = await at.down.until(SpeechPausedFrame, 2)
        assert second.sample == 960 * MS
        await at.hear(silence(900))
        await at.down.until(VADUserStoppedSpeakingFrame)
        told = [name for name in edges(at) if not name.startswith("verdict")]
        assert told == ["started", "paused 400 after 100", "paused 960 after 100", "stopped"]


async def test_speech_after_the_stop_is_a_new_stretch() -> None:
    async with stub("turn") as served, following(served) as (at, _):
        for count in (1, 2):
            await at.hear(tone(400) + silence(400))
            await at.down.until(VADUserStoppedSpeakingFrame, count)
        told = [name for name in edges(at) if not name.startswith("verdict")]
        assert told == ["started", "paused 400 after 100", "stopped", "started", "paused 1200 after 100", "stopped"]


async def test_when_the_speech_ended_is_told_on_the_pipelines_clock() -> None:
    async with stub("turn") as served, following(served) as (at, processor):
        before = processor.get_clock().get_time()
        await at.hear(tone(400))
        await at.down.until(VADUserStartedSpeakingFrame)
        between = processor.get_clock().get_time()
        await at.hear(silence(200))
        paused = await at.down.until(SpeechPausedFrame)
        assert before < paused.speech_end_ns < between


async def test_the_silences_of_the_verdicts_are_the_bots_choice() -> None:
    async with stub("turn") as served, following(served, verdict_silence_ms=(120, 240)) as (at, _):
        await at.hear(tone(400) + silence(400))
        await at.down.until(TurnVerdictFrame, 2)
        assert (await at.down.until(SpeechPausedFrame)).silence_ms == 120
        assert [frame.silence_ms for frame in at.down.of(TurnVerdictFrame)] == [120, 240]


async def test_a_committed_pause_gets_no_more_verdicts() -> None:
    async with stub("turn") as served, following(served) as (at, _):
        await at.hear(tone(400) + silence(260))
        await at.down.until(TurnVerdictFrame, 2)
        await at.send_up(CommitTurnFrame(sample=400 * MS))
        await at.up.until(CommitTurnFrame)
        await at.hear(silence(1500) + tone(200))
        await at.down.until(VADUserStartedSpeakingFrame, 2)
        assert [frame.silence_ms for frame in at.down.of(TurnVerdictFrame)] == [96, 200]


async def test_the_audio_goes_on_down_the_pipeline_ahead_of_what_is_told_of_it() -> None:
    async with stub("turn") as served, following(served) as (at, _):
        await at.hear(tone(400))
        await at.down.until(VADUserStartedSpeakingFrame)
        await at.down.until(InputAudioRawFrame, 20)


async def test_a_service_that_is_started_again_follows_the_caller_from_where_he_is() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("turn"))
        async with following(served) as (at, processor):
            await at.hear(silence(500))
            await at.down.until(InputAudioRawFrame, 25)
            await first.aclose()
            await at.up.until(ErrorFrame)
            await at.hear(silence(500))  # nobody listens
            await at.down.until(InputAudioRawFrame, 50)
            async with stub("turn", bind=served.target):
                await settles(lambda: connected(processor))
                await at.hear(tone(400) + silence(200))
                assert (await at.down.until(SpeechPausedFrame)).sample == 1400 * MS


async def test_speech_whose_stream_is_lost_ends_rather_than_never() -> None:
    async with AsyncExitStack() as first:
        served = await first.enter_async_context(stub("turn"))
        async with following(served) as (at, _):
            await at.hear(tone(400))
            await at.down.until(VADUserStartedSpeakingFrame)
            await at.down.until(InputAudioRawFrame, 20)
            await first.aclose()
            await at.up.until(ErrorFrame)
            await at.hear(silence(220))
            await at.down.until(VADUserStoppedSpeakingFrame)
            assert edges(at) == ["started", "paused 420 after 0", "stopped"]


async def test_speech_whose_stream_is_opened_again_in_its_silence_ends_rather_than_never() -> None:
    async with stub("turn") as served, following(served) as (at, processor):
        await at.hear(tone(400))
        await at.down.until(VADUserStartedSpeakingFrame)
        await at.down.until(InputAudioRawFrame, 20)
        lost = processor._link._stream
        processor._link.abandon()
        await settles(lambda: connected(processor) and processor._link._stream is not lost)
        await at.hear(silence(220))  # the new stream has heard no speech, and so tells of no pause
        await at.down.until(VADUserStoppedSpeakingFrame)
        assert edges(at) == ["started", "paused 420 after 0", "stopped"]


async def test_a_draining_replica_is_left_when_the_caller_is_quiet() -> None:
    async with stub("turn") as one, stub("turn") as two, following(one, two) as (at, processor):
        busy, idle = (one, two) if used(one) else (two, one)
        await at.hear(tone(400))
        await at.down.until(VADUserStartedSpeakingFrame)
        busy.host.drain.start(30.0)
        await settles(lambda: processor._renew_when_quiet)
        await at.hear(silence(260))
        await at.down.until(TurnVerdictFrame, 2)
        assert (used(busy), used(idle)) == (1, 0)
        await at.send_up(CommitTurnFrame(sample=400 * MS))
        await settles(lambda: (used(busy), used(idle)) == (0, 1) and connected(processor))
        await at.hear(tone(400) + silence(200))
        await at.down.until(SpeechPausedFrame, 2)
        assert at.up.of(ErrorFrame) == []


async def test_the_slot_is_free_again_when_the_bot_ends() -> None:
    async with stub("turn") as served:
        async with following(served):
            assert used(served) == 1
        await settles(lambda: used(served) == 0)


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Four seconds of real speech, and a little silence around them."""
    hibari, np, soxr = (pytest.importorskip(name) for name in ("hibari", "numpy", "soxr"))
    said = hibari.Hibari(threads=1)("The quick brown fox jumps over the lazy dog near the bank of the river.", seed=0)
    audio = soxr.resample(np.asarray(said, np.float32).ravel(), hibari.SAMPLE_RATE, RATE)
    return bytes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())


@pytest.mark.real
async def test_without_the_service_pipecats_own_models_listen(speech: bytes) -> None:
    async with following(targets=[NOWHERE], local=LocalTurn()) as (at, _):
        await at.up.until(ErrorFrame)
        await at.hear(silence(500) + speech + silence(1000))
        await at.down.until(TurnVerdictFrame)
        await at.down.until(VADUserStoppedSpeakingFrame)
        told = edges(at)
        assert [name.split()[0] for name in told] == ["started", "paused", "stopped", "verdict"]
        assert at.down.of(TurnVerdictFrame)[-1].complete
        end = at.down.of(SpeechPausedFrame)[-1].sample
        assert abs(end / RATE - (0.5 + len(speech) / 2 / RATE)) < 0.5


@pytest.mark.real
async def test_failing_to_reach_the_service_does_not_cut_speech_short(speech: bytes) -> None:
    async with following(targets=[NOWHERE], local=LocalTurn()) as (at, _):
        await at.up.until(ErrorFrame)
        half = len(speech) // 4 * 2
        await at.hear(silence(500) + speech[:half])
        await at.down.until(VADUserStartedSpeakingFrame)
        seen = len(at.up.of(ErrorFrame))
        await at.up.until(ErrorFrame, seen + 2)
        await at.hear(speech[half : half + 640 * 10])
        await at.down.until(InputAudioRawFrame, 25 + half // 640 + 10)
        assert at.down.of(SpeechPausedFrame) == [] and at.down.of(VADUserStoppedSpeakingFrame) == []


@pytest.mark.real
async def test_the_service_takes_over_again_when_it_is_back_and_so_do_the_local_models_when_it_goes(
    speech: bytes,
) -> None:
    async with AsyncExitStack() as first:
        target = (await first.enter_async_context(stub("turn"))).target
        await first.aclose()
        async with following(targets=[target], local=LocalTurn()) as (at, processor):
            await at.up.until(ErrorFrame)
            await at.hear(silence(500) + speech)
            await at.down.until(VADUserStartedSpeakingFrame)
            async with AsyncExitStack() as second:
                await second.enter_async_context(stub("turn", bind=target))
                await settles(lambda: connected(processor))
                await at.hear(silence(1000))
                await at.down.until(VADUserStoppedSpeakingFrame)
                before = len(at.down.of(VADUserStartedSpeakingFrame))
                stopped = len(at.down.of(VADUserStoppedSpeakingFrame))
                await at.hear(tone(60))  # too short for any ear but the stub's
                await at.down.until(VADUserStartedSpeakingFrame, before + 1)
                await at.hear(silence(400))
                await at.down.until(VADUserStoppedSpeakingFrame, stopped + 1)
            await settles(lambda: not connected(processor))
            before = len(at.down.of(VADUserStartedSpeakingFrame))
            await at.hear(silence(500) + speech + silence(1000))
            await at.down.until(VADUserStartedSpeakingFrame, before + 1)
