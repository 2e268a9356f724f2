import asyncio
import random
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from antiphon.asr.v1 import asr_pb2 as pb
from antiphon.common.v1 import audio_pb2
from antiphon_runtime.errors import ConfigError, InvalidInput, NoCapacity, root_cause
from antiphon_runtime.latency import ZERO, Latency, profile
from antiphon_runtime.metrics import LATENCY_BUCKETS, SlotMetrics, metrics_endpoint
from antiphon_runtime.pcm import checked_choice, checked_pcm, checked_rate
from antiphon_runtime.plugin import resolve
from antiphon_runtime.slots import Slots
from antiphon_runtime.stream import Drain, Replies, first_config, unwrapped

from .conftest import eventually
from .echo import config, say

S16 = audio_pb2.AUDIO_ENCODING_PCM_S16LE
TABLE = {"zip": "zipfile:ZipFile", "gone": "no_such_library.backend:Model"}


def test_a_name_of_the_table_or_a_path_is_resolved():
    from zipfile import ZipFile

    assert resolve("zip", TABLE) is resolve("zipfile:ZipFile", TABLE) is ZipFile


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zap", "unknown backend 'zap': it is one of gone, zip, or 'module:attribute'"),
        ("gone", "'gone' cannot be loaded: No module named 'no_such_library'"),
        ("zipfile:Zap", "'zipfile:Zap' cannot be loaded: zipfile has no 'Zap'"),
        (":Zap", "':Zap' cannot be loaded"),
    ],
)
def test_a_backend_that_is_not_there_is_named(name, words):
    with pytest.raises(ConfigError, match=words):
        resolve(name, TABLE)


def test_a_shared_library_that_is_missing_is_a_configuration_error(tmp_path, monkeypatch):
    (tmp_path / "needs_cuda.py").write_text("import ctypes\nctypes.CDLL('libnone.so.12')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"libnone\.so\.12"):
        resolve("needs_cuda:Model", {})


def test_a_slot_is_held_until_its_context_ends_and_the_next_caller_is_told_at_once():
    registry = CollectorRegistry()
    slots = Slots(2, SlotMetrics.register(registry, "asr"))

    def sampled() -> tuple[float | None, ...]:
        return tuple(registry.get_sample_value(f"antiphon_asr_slots_{name}") for name in ("used", "total"))

    with slots.hold(), pytest.raises(ZeroDivisionError), slots.hold():
        assert sampled() == (2, 2)
        with pytest.raises(NoCapacity, match="all 2 slots") as refused, slots.hold():
            pass
        assert refused.value.reason == "NO_SLOT"
        assert slots.used == 2
        raise ZeroDivisionError
    assert (slots.used, sampled()) == (0, (0, 2))


def test_a_format_that_is_not_taken_is_refused_with_what_is():
    assert checked_rate(audio_pb2.AudioFormat(encoding=S16, sample_rate_hz=8_000), (16_000, 8_000)) == 8_000
    with pytest.raises(InvalidInput, match="44100 is not taken: send 16000, 8000") as rate:
        checked_rate(audio_pb2.AudioFormat(encoding=S16, sample_rate_hz=44_100), (16_000, 8_000))
    with pytest.raises(InvalidInput) as encoding:
        checked_rate(audio_pb2.AudioFormat(sample_rate_hz=8_000), (8_000,))
    assert (rate.value.reason, encoding.value.reason) == ("UNSUPPORTED_SAMPLE_RATE", "UNSUPPORTED_ENCODING")


def test_audio_is_whole_samples_and_at_most_a_second():
    for size in (0, 2, 16_000):
        assert len(checked_pcm(b"\0" * size, 8_000)) == size
    for size, reason in ((3, "ODD_AUDIO_LENGTH"), (16_002, "AUDIO_TOO_LONG")):
        with pytest.raises(InvalidInput) as refused:
            checked_pcm(b"\0" * size, 8_000)
        assert refused.value.reason == reason


def test_an_empty_choice_is_the_first_and_an_unknown_one_is_refused():
    assert checked_choice("voice", "", ["a", "b"]) == "a"
    assert checked_choice("voice", "b", ["a", "b"]) == "b"
    with pytest.raises(InvalidInput, match="unknown voice 'c': this server has a, b") as refused:
        checked_choice("voice", "c", ["a", "b"])
    assert refused.value.reason == "UNKNOWN_VOICE"


def test_draws_reproduce_the_percentiles_they_were_made_from():
    latency, rng = Latency(((0.0, 20.0), (0.5, 40.0), (0.95, 90.0), (1.0, 200.0))), random.Random(7)
    draws = sorted(latency.draw(rng) for _ in range(20_000))
    for share, milliseconds in ((0.5, 40.0), (0.95, 90.0)):
        assert draws[int(share * len(draws))] == pytest.approx(milliseconds / 1000, rel=0.03)
    assert 0.020 <= draws[0] <= draws[-1] <= 0.200
    again = random.Random(7)
    assert [latency.draw(again) for _ in range(3)] == [latency.draw(r) for r in [random.Random(7)] for _ in range(3)]


def test_beyond_its_points_a_latency_stays_what_it_was_at_the_last():
    latency = Latency(((0.5, 40.0), (0.99, 60.0)))
    assert [latency.at(share) for share in (0.0, 0.5, 0.99, 1.0)] == pytest.approx([0.04, 0.04, 0.06, 0.06])
    assert Latency(((0.5, 40.0),)).at(0.9) == pytest.approx(0.04)
    assert Latency(((0.0, 10.0), (0.5, 10.0), (0.5, 30.0), (1.0, 30.0))).at(0.5) == pytest.approx(0.03)


def test_zero_is_a_profile_everywhere_and_an_unknown_one_is_refused():
    table = {"h100": Latency(((0.0, 3.0), (1.0, 3.0)))}
    assert profile("zero", table) is ZERO
    assert ZERO.draw(random.Random(1)) == 0.0
    assert profile("h100", table).draw(random.Random(1)) == pytest.approx(0.003)
    with pytest.raises(ConfigError, match="unknown latency profile 'h200': it is one of zero, h100"):
        profile("h200", table)


def test_the_latency_ladder_resolves_ten_milliseconds_to_ten_seconds():
    assert (LATENCY_BUCKETS[0], LATENCY_BUCKETS[-1]) == (0.01, 10.0)
    steps = [high / low for low, high in pairwise(LATENCY_BUCKETS)]
    assert all(1 < step <= 2 for step in steps)
    voice = [high / low for low, high in pairwise(LATENCY_BUCKETS) if 0.1 <= low < 1.0]
    assert all(step <= 1.5 for step in voice)  # where conversations are won


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:http", "127.0.0.1:99999", "no.such.host.invalid:0"])
def test_metrics_that_cannot_be_served_are_a_configuration_error(address):
    with pytest.raises(ConfigError, match="cannot serve metrics on"), metrics_endpoint(address, CollectorRegistry()):
        pass


def test_an_error_inside_the_metrics_endpoint_is_not_taken_for_its_own():
    with pytest.raises(FileNotFoundError), metrics_endpoint("127.0.0.1:0", CollectorRegistry()) as port:
        assert port
        raise FileNotFoundError("weights")


class Wire:
    """Stands for gRPC's context: refuses a write while another is under way, as gRPC does."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.free = asyncio.Event()
        self.busy = False

    async def write(self, event: str) -> None:
        assert not self.busy, "too many operations"
        self.busy = True
        await self.free.wait()
        self.busy = False
        self.written.append(event)


async def test_replies_of_several_tasks_are_written_one_by_one_in_order():
    wire = Wire()
    replies = Replies(wire)
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(replies.send(str(number)))
        await eventually(lambda: wire.busy)
        wire.free.set()
    assert wire.written == [str(number) for number in range(20)]


async def test_a_task_cancelled_while_it_sends_leaves_the_stream_usable():
    wire = Wire()
    replies = Replies(wire)
    sending = asyncio.create_task(replies.send("cut short"))
    await eventually(lambda: wire.busy)
    sending.cancel()
    await asyncio.wait((sending,))
    assert sending.cancelled()
    following = asyncio.create_task(replies.send("next"))
    await asyncio.sleep(0)
    wire.free.set()
    await following
    assert wire.written == ["cut short", "next"]


async def requests(*messages: pb.TranscribeRequest):
    for message in messages:
        yield message


async def test_the_first_request_is_the_config_or_nothing_works():
    assert (await first_config(requests(config("m"), say("x")))).model == "m"
    for messages, words in (
        ((say("x"),), "not audio"),
        ((), "not nothing"),
        ((pb.TranscribeRequest(),), "not nothing"),
    ):
        with pytest.raises(InvalidInput, match=words):
            await first_config(requests(*messages))


async def test_draining_is_announced_once_with_the_time_that_is_left():
    drain, told = Drain(30.0), asyncio.Queue()
    async with drain.announced(told.put):
        drain.start(2.0)
        assert 0 < await told.get() <= 2000
    async with drain.announced(told.put):  # a stream opened meanwhile hears it too
        assert 0 < await told.get() <= 2000
    assert told.empty()
    assert Drain(30.0).left_ms == 30_000


async def test_without_a_drain_nothing_is_announced_and_no_task_is_left():
    before, told = asyncio.all_tasks(), asyncio.Queue()
    async with Drain().announced(told.put):
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before
    assert told.empty()


async def test_an_error_beside_an_announcement_comes_out_unwrapped():
    with pytest.raises(NoCapacity):
        async with unwrapped(), Drain().announced(asyncio.Queue().put):
            raise NoCapacity("full")


def test_the_root_cause_is_the_first_leaf():
    first = ValueError("first")
    assert root_cause(ExceptionGroup("", [ExceptionGroup("", [first, KeyError()]), OSError()])) is first
    assert root_cause(first) is first
