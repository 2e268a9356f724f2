"""What every backend of this service does."""

import asyncio

import grpc
import pytest

from antiphon.turn.v1 import turn_pb2 as pb
from antiphon_runtime.rpc import error_reason
from antiphon_turn.testing import RATE, config, pieces, serve, silence

SPEAKING = pb.DetectRequest(agent_speaking=pb.AgentSpeaking(speaking=True))
UTTERANCE = pb.DetectRequest(utterance=pb.Utterance(id=7, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"))


@pytest.mark.parametrize("first", [pb.DetectRequest(audio=b"\0\0"), pb.DetectRequest(), UTTERANCE])
async def test_the_first_request_must_be_config(backend: str, first: pb.DetectRequest) -> None:
    async with serve(backend) as turn:
        refusal = await turn.refusal([first])
        assert (refusal.code(), error_reason(refusal)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
        assert "must carry `config`" in refusal.details()


async def test_a_stream_without_requests_is_refused(backend: str) -> None:
    async with serve(backend) as turn:
        assert (await turn.refusal([])).code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_second_config_is_refused(backend: str) -> None:
    async with serve(backend) as turn:
        refusal = await turn.refusal([config(), config()])
        assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "not config" in refusal.details()


async def test_ready_says_all_of_the_configuration_in_effect(backend: str) -> None:
    async with serve(backend) as turn:
        ready = (await turn.stub.Detect(iter([config()])).read()).ready
        assert ready.stream_id
        assert ready.config.audio == config().config.audio
        assert ready.config.model == {"stub": "stub", "smart-turn": "smart-turn-v3.2"}[backend]
        assert list(ready.config.verdict_silence_ms) == [96, 200, 500, 1200]


async def test_what_the_caller_chose_is_echoed(backend: str) -> None:
    async with serve(backend) as turn:
        name = (await turn.stub.Detect(iter([config()])).read()).ready.config.model
        ready = (await turn.stub.Detect(iter([config([32, 10_000], model=name)])).read()).ready
        assert (ready.config.model, list(ready.config.verdict_silence_ms)) == (name, [32, 10_000])


@pytest.mark.parametrize(
    ("wrong", "reason", "names"),
    [
        (config(rate=11_025), "UNSUPPORTED_SAMPLE_RATE", "16000"),
        (config(rate=0), "UNSUPPORTED_SAMPLE_RATE", "16000"),
        (config(encoding=0), "UNSUPPORTED_ENCODING", "PCM_S16LE"),
        (config(model="none"), "UNKNOWN_MODEL", "this server has"),
        (config([200, 96]), "BAD_VERDICT_SILENCES", "ascending"),
        (config([96, 96]), "BAD_VERDICT_SILENCES", "ascending"),
        (config([31]), "BAD_VERDICT_SILENCES", "from 32 to 10000"),
        (config([96, 10_001]), "BAD_VERDICT_SILENCES", "from 32 to 10000"),
        (config([-5]), "BAD_VERDICT_SILENCES", "from 32 to 10000"),
        (config(range(100, 1000, 100)), "BAD_VERDICT_SILENCES", "at most 8"),
    ],
)
async def test_a_configuration_it_cannot_take_is_refused_and_the_refusal_names_what_it_takes(
    backend: str, wrong: pb.DetectRequest, reason: str, names: str
) -> None:
    async with serve(backend) as turn:
        refusal = await turn.refusal([wrong])
        assert (refusal.code(), error_reason(refusal)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert names in refusal.details()
        assert turn.served.sample("antiphon_turn_slots_used") == 0


@pytest.mark.parametrize(
    ("audio", "reason"), [(b"\0", "ODD_AUDIO_LENGTH"), (bytes(RATE * 2 + 2), "AUDIO_TOO_LONG")], ids=["odd", "long"]
)
async def test_audio_that_is_not_whole_samples_or_longer_than_a_second_is_refused(
    backend: str, audio: bytes, reason: str
) -> None:
    async with serve(backend) as turn:
        refusal = await turn.refusal([config(), pb.DetectRequest(audio=audio)])
        assert (refusal.code(), error_reason(refusal)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_who_finds_no_slot_is_told_at_once_and_a_cancel_frees_one(backend: str) -> None:
    async with serve(backend, slots=1) as turn:
        first = turn.stub.Detect()
        await first.write(config())
        await first.read()
        refusal = await turn.refusal([config()])
        assert (refusal.code(), error_reason(refusal)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SLOT")
        first.cancel()
        await turn.idle()
        assert await turn.events([config()]) == []


async def test_half_close_ends_a_stream_well(backend: str) -> None:
    async with serve(backend) as turn:
        assert await turn.events([config(), SPEAKING, UTTERANCE, pb.DetectRequest(audio=b"")]) == []
        await turn.idle()


async def test_silence_is_told_nothing_about(backend: str) -> None:
    async with serve(backend) as turn:
        assert await turn.events([config(), *pieces(silence(5000), 100)]) == []


async def test_an_open_stream_is_told_that_the_replica_drains_and_goes_on(backend: str) -> None:
    async with serve(backend, grace_s=3.0) as turn:
        call = turn.stub.Detect()
        await call.write(config())
        await call.read()
        turn.served.host.drain.started.set()
        assert (await call.read()).draining.deadline_ms == 3000
        await call.write(pb.DetectRequest(audio=silence(20)))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_fifty_streams_leave_no_slot_and_no_task(backend: str) -> None:
    async with serve(backend) as turn:
        await turn.events([config()])
        await turn.idle()
        tasks = len(asyncio.all_tasks())
        for index in range(50):
            call = turn.stub.Detect()
            await call.write(config())
            await call.read()
            await call.write(pb.DetectRequest(audio=silence(40)))
            if index % 2:
                call.cancel()
            else:
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF
        await turn.idle(tasks)
        assert len(asyncio.all_tasks()) <= tasks
