"""An instrument's stream to a recognizer: what it sends when, and what it makes of every end."""

import asyncio
import subprocess
import sys
from typing import Any

import grpc
import pytest

from antiphon.asr.v1 import asr_pb2
from antiphon_bench.asr.stream import PACKET_BYTES, Pace, StreamConfig, connected, effective, transcribe
from antiphon_bench.errors import NoAnswer, StreamLost, StreamRefused

ENGLISH = StreamConfig()
# Eleven packets and a quarter of one.
LOUD = (1000).to_bytes(2, "little") * (320 * 11 + 80)


class Hands:
    """A clock that is moved by hand: waiting for a moment makes it that moment."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self._late_s = late_s

    def now_s(self) -> float:
        return self.now

    async def until(self, at_s: float) -> None:
        self.waits.append(at_s)
        self.now = max(self.now, at_s + self._late_s)


class Notes:
    """A recognizer that notes what arrives and when, and takes `think_s` to answer."""

    def __init__(self, clock: Hands, think_s: float = 0.0) -> None:
        self._clock = clock
        self._think_s = think_s
        self.audio: list[bytes] = []
        self.heard_at: list[tuple[int, float]] = []
        self.finalize = asr_pb2.Finalize()

    async def __call__(self, requests: Any, context: Any) -> None:
        async for request in requests:
            if request.WhichOneof("request") == "audio":
                self.audio.append(request.audio)
                self.heard_at.append((sum(map(len, self.audio)), self._clock.now))
            else:
                self.finalize = request.finalize
                self._clock.now += self._think_s
                await context.write(asr_pb2.TranscribeResponse(transcript=asr_pb2.Transcript(text="good")))
                finalized = asr_pb2.Finalized(id=request.finalize.id, text="Good morning.")
                await context.write(asr_pb2.TranscribeResponse(finalized=finalized))


async def test_at_real_pace_nothing_is_sent_before_it_has_been_spoken(told_asr) -> None:
    clock = Hands()
    notes = Notes(clock)
    async with told_asr(notes) as replicas:
        await transcribe(replicas, LOUD, ENGLISH, clock=clock)
    assert b"".join(notes.audio) == LOUD
    assert [len(packet) for packet in notes.audio] == [PACKET_BYTES] * 11 + [160]
    assert clock.waits == pytest.approx([100.02 + 0.02 * tick for tick in range(11)] + [100.225])
    assert all(size / 32_000 <= at_s - 100.0 + 1e-9 for size, at_s in notes.heard_at)


async def test_at_fast_pace_the_same_packets_are_sent_without_waiting(told_asr) -> None:
    clock = Hands(late_s=1.0)
    notes = Notes(clock)
    async with told_asr(notes) as replicas:
        answer = await transcribe(replicas, LOUD, ENGLISH, pace=Pace.FAST, clock=clock)
    assert not clock.waits
    assert [len(packet) for packet in notes.audio] == [PACKET_BYTES] * 11 + [160]
    assert answer.late_ms == 0


async def test_the_utterance_is_committed_at_its_last_sample(told_asr) -> None:
    notes = Notes(Hands())
    async with told_asr(notes) as replicas:
        answer = await transcribe(replicas, LOUD, ENGLISH, pace=Pace.FAST)
    assert notes.finalize.end_sample == len(LOUD) // 2
    assert notes.finalize.mode == asr_pb2.FINALIZE_MODE_COMMIT
    assert answer.text == "Good morning."
    assert answer.interims == 1


async def test_the_time_to_final_is_what_the_recognizer_took(told_asr) -> None:
    clock = Hands()
    async with told_asr(Notes(clock, think_s=0.25)) as replicas:
        answer = await transcribe(replicas, LOUD, ENGLISH, clock=clock)
    assert answer.final_ms == pytest.approx(250)
    assert answer.speech_end_ms == pytest.approx(250)


async def test_a_packet_that_goes_out_late_is_told(told_asr) -> None:
    clock = Hands(late_s=0.05)
    async with told_asr(Notes(clock)) as replicas:
        answer = await transcribe(replicas, LOUD, ENGLISH, clock=clock)
    assert answer.late_ms == pytest.approx(50)


async def test_a_slot_is_free_again_once_the_text_is_there(stub_asr) -> None:
    async with stub_asr(slots=1) as replicas:
        for _ in range(5):
            assert (await transcribe(replicas, LOUD, ENGLISH, pace=Pace.FAST)).text == "Hello there."


async def test_what_is_in_effect_is_what_the_service_says(stub_asr) -> None:
    async with stub_asr(slots=1) as replicas:
        assert await effective(replicas, StreamConfig()) == StreamConfig("en-US", "stub", 0, False)


async def test_a_full_service_refuses_and_says_so(stub_asr) -> None:
    async with stub_asr(slots=1) as replicas:
        audio = asr_pb2.TranscribeConfig(audio={"encoding": 1, "sample_rate_hz": 16_000})
        async with await replicas.open(asr_pb2.TranscribeRequest(config=audio)):
            with pytest.raises(StreamRefused) as refused:
                await transcribe(replicas, LOUD, ENGLISH)
    assert refused.value.code == "RESOURCE_EXHAUSTED"


async def test_a_configuration_that_is_not_allowed_is_refused_with_the_services_words(stub_asr) -> None:
    async with stub_asr() as replicas:
        with pytest.raises(StreamRefused, match=r"INVALID_ARGUMENT.*context_ms 80"):
            await transcribe(replicas, LOUD, StreamConfig(context_ms=80))


async def test_nobody_at_the_address_is_a_refusal(unused_tcp_port: int) -> None:
    async with connected([f"127.0.0.1:{unused_tcp_port}"]) as replicas:
        with pytest.raises(StreamRefused) as refused:
            await effective(replicas, ENGLISH)
    assert refused.value.code == "UNAVAILABLE"


async def test_a_stream_that_breaks_names_the_status(told_asr) -> None:
    async def broken(requests: Any, context: Any) -> None:
        async for request in requests:
            if request.WhichOneof("request") == "finalize":
                await context.abort(grpc.StatusCode.INTERNAL, "out of memory")

    async with told_asr(broken) as replicas:
        with pytest.raises(StreamLost, match="out of memory") as lost:
            await transcribe(replicas, LOUD, ENGLISH, pace=Pace.FAST)
    assert lost.value.code == "INTERNAL"


async def test_a_stream_that_breaks_while_audio_is_sent_is_lost(told_asr) -> None:
    async def broken(requests: Any, context: Any) -> None:
        await anext(requests)
        await context.abort(grpc.StatusCode.INTERNAL, "out of memory")

    async with told_asr(broken) as replicas:
        with pytest.raises(StreamLost):
            await transcribe(replicas, LOUD * 100, ENGLISH, pace=Pace.FAST)


async def test_a_stream_that_ends_without_an_answer_is_lost(told_asr) -> None:
    async def curt(requests: Any, context: Any) -> None:
        async for request in requests:
            if request.WhichOneof("request") == "finalize":
                return

    async with told_asr(curt) as replicas:
        with pytest.raises(StreamLost, match="without an answer"):
            await transcribe(replicas, LOUD, ENGLISH, pace=Pace.FAST)


async def test_a_recognizer_that_never_answers_is_given_up(told_asr) -> None:
    async def mute(requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    async with told_asr(mute) as replicas:
        with pytest.raises(NoAnswer):
            await transcribe(replicas, LOUD, ENGLISH, pace=Pace.FAST, patience_s=0.1)


def test_the_stream_needs_neither_pipecat_nor_numpy() -> None:
    absent = "import sys; sys.modules.update(dict.fromkeys(('pipecat', 'numpy', 'soundfile', 'soxr', 'jiwer')))"
    program = f"{absent}; import antiphon_bench.asr.stream"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
