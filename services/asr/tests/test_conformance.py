"""Conformance of every backend to the contract of asr.proto."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from asr_caller import COMMIT, RATE, SPECULATE, audio, config, finalize, loud, silence, stream, stub

from antiphon.asr.v1 import asr_pb2 as pb
from antiphon_runtime.rpc import error_reason
from antiphon_runtime.testing import Served, collect

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def refusal(served: Served, *requests: pb.TranscribeRequest) -> tuple[grpc.StatusCode, str]:
    _, error = await collect(stub(served).Transcribe(iter(requests)))
    assert error is not None
    return error.code(), error_reason(error)


async def settled(served: Served, condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds. Between two looks the server answers a question."""
    async with asyncio.timeout(60):
        while not condition():
            await refusal(served, config(model="none"))


async def released(served: Served) -> None:
    await settled(served, lambda: not served.sample("antiphon_asr_slots_used"))


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "INVALID_INPUT"),
        ([pb.TranscribeRequest()], "INVALID_INPUT"),
        ([audio(silence(160))], "INVALID_INPUT"),
        ([config(), config()], "INVALID_INPUT"),
        ([config(), pb.TranscribeRequest()], "INVALID_INPUT"),
        ([config(), audio(b"\0\0\0")], "ODD_AUDIO_LENGTH"),
        ([config(), audio(silence(RATE + 1))], "AUDIO_TOO_LONG"),
        ([config(rate_hz=12_345)], "UNSUPPORTED_SAMPLE_RATE"),
        ([config(encoding=0)], "UNSUPPORTED_ENCODING"),
        ([config(model="whisper")], "UNKNOWN_MODEL"),
        ([config(language_code="xx-XX")], "UNKNOWN_LANGUAGE"),
        ([config(context_ms=123)], "UNKNOWN_CONTEXT"),
        ([config(context_ms=-1)], "UNKNOWN_CONTEXT"),
        ([config(), finalize(1, pb.FINALIZE_MODE_UNSPECIFIED)], "BAD_FINALIZE_MODE"),
        ([config(), finalize(1, COMMIT, -1)], "BAD_END_SAMPLE"),
        ([config(), finalize(1, COMMIT, 10 * RATE + 1)], "BAD_END_SAMPLE"),
        ([config(), audio(silence(800)), finalize(1, COMMIT), finalize(2, SPECULATE, 799)], "BAD_END_SAMPLE"),
        ([config(), *[audio(silence(RATE))] * 31, finalize(1, COMMIT, RATE - 1)], "BAD_END_SAMPLE"),
        ([config(), finalize(1, SPECULATE), finalize(1, COMMIT)], "DUPLICATE_FINALIZE"),
    ],
)
async def test_what_the_contract_forbids_is_refused_with_a_reason(
    served: Served, requests: list[pb.TranscribeRequest], reason: str
) -> None:
    assert await refusal(served, *requests) == (INVALID, reason)


async def test_ready_says_what_is_in_effect(served: Served) -> None:
    async with stream(served, config(interim_results=True)) as call:
        ready = call.ready
    assert ready.stream_id
    assert ready.config.audio.encoding == 1
    assert ready.config.audio.sample_rate_hz == RATE
    assert ready.config.model in ("stub", "moonshine-tiny-en", "tiny")
    assert ready.config.language_code == "en-US"
    assert ready.config.interim_results


@pytest.mark.parametrize("code", ["en", "en-US", "en-GB", "en-NZ"])
async def test_every_english_is_taken(served: Served, code: str) -> None:
    async with stream(served, config(language_code=code)) as call:
        assert call.ready.config.language_code == code


async def test_who_finds_no_slot_is_told_at_once_and_a_hang_up_frees_one(served: Served) -> None:
    async with stream(served), stream(served), stream(served), stream(served):
        assert await refusal(served, config()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SLOT")
        assert served.sample("antiphon_asr_refused_total", reason="no_slot") == 1
    await released(served)
    async with stream(served) as call:
        assert call.ready.stream_id


async def test_a_half_close_answers_what_is_open_and_ends_well(served: Served) -> None:
    requests = [
        config(),
        audio(silence(RATE)),
        finalize(1, SPECULATE),
        finalize(2, SPECULATE, 2 * RATE),
        finalize(3, COMMIT, 3 * RATE),
    ]
    events, error = await collect(stub(served).Transcribe(iter(requests)))
    assert error is None
    answers = {event.finalized.id: event.finalized for event in events[1:]}
    assert sorted(answers) == [1, 2, 3] and len(events) == 4
    assert all(answer.empty and not answer.text and answer.end_sample == RATE for answer in answers.values())


async def test_an_answer_waits_for_audio_up_to_its_end(served: Served) -> None:
    async with stream(served) as call:
        await call.send(audio(silence(RATE)), finalize(7, COMMIT, RATE + 500), audio(silence(499)))
        # The second question is answered first: the other still waits for one sample.
        assert (await call.ask(8, SPECULATE)).end_sample == RATE + 499
        await call.send(audio(silence(1)))
        answer = await call.finalized()
        assert (answer.id, answer.end_sample, answer.empty) == (7, RATE + 500, True)


async def test_answers_that_wait_come_in_the_order_of_their_ends(served: Served) -> None:
    async with stream(served) as call:
        await call.send(finalize(1, COMMIT, 900), finalize(2, COMMIT, 300), finalize(3, COMMIT, 600))
        await call.send(audio(silence(1000)))
        assert [(await call.finalized()).id for _ in range(3)] == [2, 3, 1]


async def test_before_any_audio_there_is_nothing_to_hear(served: Served) -> None:
    async with stream(served) as call:
        answer = await call.ask(1, COMMIT)
        assert answer.empty and answer.end_sample == 0


async def test_more_answers_than_anybody_reads_are_refused(served: Served) -> None:
    many = [finalize(id, SPECULATE, RATE) for id in range(65)]
    assert await refusal(served, config(), *many) == (INVALID, "TOO_MANY_FINALIZES")


@pytest.mark.parametrize("field", ["word_times", "word_confidence"])
async def test_words_come_when_asked_for_or_are_refused(served: Served, field: str) -> None:
    events, error = await collect(stub(served).Transcribe(iter([config(**{field: True})])))
    if error is None:
        assert getattr(events[0].ready.config, field)
    else:
        assert (error.code(), error_reason(error)) == (INVALID, "UNSUPPORTED_WORDS")


async def test_both_waits_for_a_text_are_measured(served: Served) -> None:
    async with stream(served) as call:
        await call.send(audio(silence(RATE)))
        await call.ask(1, COMMIT, RATE // 2)
        await call.ask(2, SPECULATE)
    for mode in ("commit", "speculate"):
        assert served.sample("antiphon_asr_finalize_seconds_count", mode=mode) == 1
        assert served.sample("antiphon_asr_speech_end_seconds_count", mode=mode) == 1


async def test_draining_is_announced_and_the_stream_goes_on(served: Served) -> None:
    async with stream(served) as call:
        served.host.drain.started.set()
        assert (await call.event()).WhichOneof("event") == "draining"
        await call.send(audio(silence(160)))
        assert (await call.ask(1, COMMIT)).end_sample == 160


async def test_fifty_streams_leave_no_slot_and_no_task(served: Served) -> None:
    async with stream(served):
        pass
    await released(served)
    before = len(asyncio.all_tasks())
    for index in range(50):
        async with stream(served) as call:
            await call.send(audio(loud(RATE)), finalize(1, SPECULATE, 2 * RATE))
            if index % 2:
                await call.ask(2, COMMIT)
    await released(served)
    await settled(served, lambda: len(asyncio.all_tasks()) <= before)
