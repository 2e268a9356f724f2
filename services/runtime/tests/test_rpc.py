import asyncio
import json
import logging

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime import errors, rpc
from antiphon_runtime.calls import Call, working_for
from antiphon_runtime.logs import Colored, Json
from antiphon_runtime.metrics import RpcMetrics
from antiphon_runtime.server import Host
from antiphon_runtime.stream import Drain
from antiphon_runtime.testing import collect

from .conftest import eventually
from .echo import SERVICE, Echo, config, say

CODES = [
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NoCapacity, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.BackendFailed, grpc.StatusCode.INTERNAL),
]


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


async def ended(stub, *texts: str, model: str = "") -> grpc.aio.AioRpcError:
    _, error = await collect(stub.Transcribe(iter([config(model), *map(say, texts)])))
    assert error is not None
    return error


def finished(served, outcome: str) -> float:
    return served.sample("antiphon_rpc_seconds_count", method="Transcribe", outcome=outcome)


def active(served) -> float:
    return served.sample("antiphon_rpc_active", method="Transcribe")


@pytest.mark.parametrize(("kind", "code"), CODES)
async def test_what_a_servicer_raises_reaches_the_client_with_code_reason_and_domain(served, stub, echo, kind, code):
    async def talk(*_):
        raise kind("what happened", reason="A_REASON")

    echo._talk = talk
    error = await ended(stub)
    assert (error.code(), error.details()) == (code, "what happened")
    info = error_info(error)
    assert (info.reason, info.domain) == ("A_REASON", SERVICE)
    assert rpc.error_reason(error) == "A_REASON"
    await eventually(lambda: finished(served, "a_reason") == 1)


async def test_an_error_inside_a_task_group_is_unwrapped(stub):
    error = await ended(stub, "full")
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(error).reason == "NO_SLOT"


async def test_an_unexpected_error_is_internal_and_tells_the_client_nothing(served, stub, caplog):
    error = await ended(stub, "boom")
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "unexpected error")
    assert b"hunter2" not in b"".join(str(entry).encode() for entry in error.trailing_metadata())
    assert error_info(error).reason == "BACKEND_FAILED"
    assert "hunter2" in caplog.text  # the log has it


async def test_a_message_too_long_for_trailers_is_cut_and_keeps_its_code(stub):
    error = await ended(stub, "long")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(error.details()) == rpc.MAX_MESSAGE_CHARACTERS
    assert error_info(error).reason == "INVALID_INPUT"


async def test_a_handler_that_aborts_by_hand_is_left_to_it(served, stub):
    error = await ended(stub, "abort")
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "by hand")
    await eventually(lambda: finished(served, "aborted") == 1)


async def test_a_cancelled_stream_is_counted_as_that_and_leaves_the_gauge(served, stub, echo):
    call = stub.Transcribe()
    await call.write(config("slow cleanup"))
    await call.read()
    assert active(served) == 1
    call.cancel()
    await eventually(lambda: finished(served, "cancelled") == 1)
    assert active(served) == 0
    assert echo.slots.used == 0


async def test_a_caller_that_leaves_amid_a_flood_is_no_error_of_ours(served, stub, caplog):
    caplog.set_level(logging.INFO)
    call = stub.Transcribe()
    await call.write(config())
    await call.write(say("flood"))
    for _ in range(20):
        await call.read()
    call.cancel()
    await eventually(lambda: active(served) == 0)
    assert finished(served, "cancelled") == 1
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


class Lines(logging.Handler):
    """Formats each record in the context in which it was logged."""

    def __init__(self):
        super().__init__()
        self.setFormatter(Json())
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


async def test_the_stream_id_is_the_same_in_ready_and_in_the_log(served, stub, caplog):
    caplog.set_level(logging.INFO, logger="antiphon_runtime.rpc")
    handler = Lines()
    logger = logging.getLogger("antiphon_runtime.rpc")
    logger.addHandler(handler)
    try:
        events, _ = await collect(stub.Transcribe(iter([config()])))
        await eventually(lambda: any('"stream_id"' in line for line in handler.lines))
    finally:
        logger.removeHandler(handler)
    lines, name = handler.lines, events[0].ready.stream_id
    assert len(name) == 16
    assert [json.loads(line)["stream_id"] for line in lines if "Transcribe" in line] == [name]
    assert rpc.stream_id() == ""


def test_logs_are_one_json_object_a_line_and_plain_text_without_color():
    record = logging.LogRecord("a", logging.WARNING, __file__, 1, "two\nlines %s", ("ä",), None)
    entry = json.loads(Json().format(record))
    assert "\n" not in Json().format(record)
    assert (entry["level"], entry["logger"], entry["message"]) == ("WARNING", "a", "two\nlines ä")
    assert "\033" not in Colored(color=False).format(record)
    assert Colored(color=True).format(record).startswith("\033[33m")


def test_a_line_names_the_call_its_turn_and_trace_and_what_it_carries():
    record = logging.LogRecord("a", logging.INFO, __file__, 1, "hello", (), None)
    assert not {"session_id", "turn_id", "trace_id"} & json.loads(Json().format(record)).keys()
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("turn")
    with working_for(Call("call-7", 3, trace.set_span_in_context(span))):
        record.fields = {"v2v_ms": 508}
        entry = json.loads(Json().format(record))
        assert "[call-7]" in Colored(color=False).format(record)
    assert (entry["session_id"], entry["turn_id"], entry["v2v_ms"]) == ("call-7", 3, 508)
    assert entry["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)


async def test_session_and_trace_reach_the_span():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    registry = CollectorRegistry()
    interceptor = rpc.RpcInterceptor(RpcMetrics.register(registry), SERVICE, tracer=provider.get_tracer("test"))
    server = grpc.aio.server(interceptors=[interceptor])
    port = server.add_insecure_port("127.0.0.1:0")
    echo = Echo()

    async with echo.build(Host(registry, Drain())) as register:
        register(server)
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = asr_pb2_grpc.AsrServiceStub(channel)
            trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
            metadata = (("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"), ("x-session-id", "call-7"))
            events, _ = await collect(stub.Transcribe(iter([config()]), metadata=metadata))
            await collect(stub.Transcribe(iter([config("refuse")])))
            call = stub.Transcribe()
            await call.write(config("slow cleanup"))
            await call.read()
            call.cancel()
            await interceptor.idle()
            await eventually(lambda: len(exporter.get_finished_spans()) == 3)
        await server.stop(0)
    good, refused, cancelled = exporter.get_finished_spans()
    assert good.name == f"{SERVICE}/Transcribe"
    assert format(good.context.trace_id, "032x") == trace_id
    assert good.parent.span_id == 0x00F067AA0BA902B7
    assert good.attributes["antiphon.session.id"] == "call-7"
    assert good.attributes["antiphon.stream.id"] == events[0].ready.stream_id
    outcomes = [span.attributes["antiphon.outcome"] for span in (good, refused, cancelled)]
    assert outcomes == ["ok", "unknown_model", "cancelled"]
    assert [span.status.is_ok for span in (good, refused, cancelled)] == [True, False, True]


async def test_a_method_that_does_not_stream_is_not_served_as_it_would_get_past_the_token(served):
    unary = served.channel.unary_unary(f"/{SERVICE}/Other")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await unary(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_two_hundred_streams_leave_no_task_no_slot_and_no_gauge(served, stub, echo):
    async def one(number: int) -> None:
        call = stub.Transcribe()
        await call.write(config())
        assert (await call.read()).ready.stream_id
        await call.write(say(str(number)))
        assert (await call.read()).transcript.text == str(number)
        if number % 2:
            call.cancel()
        else:
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

    await one(0)
    await eventually(lambda: active(served) == 0)
    tasks = len(asyncio.all_tasks())
    for number in range(1, 201):
        await one(number)
    await eventually(lambda: active(served) == 0 and len(asyncio.all_tasks()) <= tasks)
    assert echo.slots.used == served.sample("antiphon_echo_slots_used") == 0
    # A handler may be done before it hears of the cancel.
    assert finished(served, "ok") >= 101
    assert finished(served, "ok") + finished(served, "cancelled") == 201


def test_a_broken_status_in_the_trailers_has_no_reason():
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), trailers)
    assert rpc.error_reason(error) == ""
