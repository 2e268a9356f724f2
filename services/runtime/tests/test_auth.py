import time

import grpc
import jwt
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime.auth import LEEWAY_S, MIN_SECRET_BYTES, Issuer, Verifier, read_secret
from antiphon_runtime.errors import ConfigError, Unauthenticated
from antiphon_runtime.rpc import error_reason
from antiphon_runtime.settings import ServerSettings
from antiphon_runtime.testing import collect, serving

from .echo import SERVICE, config
from .test_server import SERVING, health

SECRET = b"s" * MIN_SECRET_BYTES


@pytest.fixture
async def guarded(echo, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    settings = ServerSettings(bind="127.0.0.1:0", grace_s=0.0, token_secret_file=secret)
    async with serving(SERVICE, echo.build, settings) as at:
        yield at


def expired() -> str:
    return Issuer(SECRET, SERVICE, clock=lambda: time.time() - 3600).token()


def unsigned() -> str:
    return jwt.encode({"aud": SERVICE, "exp": time.time() + 60}, None, algorithm="none")


def timeless() -> str:
    return jwt.encode({"aud": SERVICE}, SECRET, algorithm="HS256")


WRONG = {
    "nothing": (None, "TOKEN_MISSING"),
    "another scheme": (lambda: "Basic abc", "TOKEN_MISSING"),
    "an empty token": (lambda: "Bearer ", "TOKEN_MISSING"),
    "no token at all": (lambda: "Bearer nonsense", "TOKEN_INVALID"),
    "another secret": (lambda: f"Bearer {Issuer(b'x' * 32, SERVICE).token()}", "TOKEN_INVALID"),
    "another audience": (lambda: f"Bearer {Issuer(SECRET, 'antiphon.tts.v1.TtsService').token()}", "TOKEN_INVALID"),
    "no signature": (lambda: f"Bearer {unsigned()}", "TOKEN_INVALID"),
    "no expiry": (lambda: f"Bearer {timeless()}", "TOKEN_INVALID"),
    "an expired one": (lambda: f"Bearer {expired()}", "TOKEN_EXPIRED"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_stream_without_a_valid_token_is_refused_before_it_reaches_the_model(guarded, echo, case):
    header, reason = WRONG[case]
    metadata = (("authorization", header()),) if header else ()
    stub = asr_pb2_grpc.AsrServiceStub(guarded.channel)
    events, error = await collect(stub.Transcribe(iter([config()]), metadata=metadata))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert (events, echo.attempts) == ([], 0)


async def test_a_caller_that_sends_nothing_is_refused_all_the_same(guarded):
    call = asr_pb2_grpc.AsrServiceStub(guarded.channel).Transcribe()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_valid_token_opens_a_stream(guarded):
    stub = asr_pb2_grpc.AsrServiceStub(guarded.channel)
    metadata = (("authorization", f"Bearer {Issuer(SECRET, SERVICE).token('a caller')}"),)
    events, error = await collect(stub.Transcribe(iter([config()]), metadata=metadata))
    assert error is None
    assert events[0].ready.stream_id


async def test_health_needs_no_token(guarded):
    assert await health(guarded.channel, SERVICE) == SERVING


async def test_reflection_needs_one(guarded):
    info = reflection_pb2_grpc.ServerReflectionStub(guarded.channel).ServerReflectionInfo
    ask = [reflection_pb2.ServerReflectionRequest(list_services="")]
    _, error = await collect(info(iter(ask)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    token = Issuer(SECRET, SERVICE).token()
    replies, error = await collect(info(iter(ask), metadata=(("authorization", f"Bearer {token}"),)))
    assert error is None
    assert len(replies) == 1


def test_a_token_names_its_subject():
    header = f"bearer  {Issuer(SECRET, SERVICE).token('session 7')}"
    assert Verifier(SECRET, SERVICE).verify(header) == "session 7"


def test_clocks_may_differ_a_little_and_no_more():
    ahead = Issuer(SECRET, SERVICE, clock=lambda: time.time() + LEEWAY_S - 2)
    assert Verifier(SECRET, SERVICE).verify(f"Bearer {ahead.token()}") == ""
    far = Issuer(SECRET, SERVICE, clock=lambda: time.time() + 3600)
    with pytest.raises(Unauthenticated):
        Verifier(SECRET, SERVICE).verify(f"Bearer {far.token()}")


def test_a_secret_that_is_short_or_missing_is_refused(tmp_path):
    short = tmp_path / "short"
    short.write_bytes(b"s" * (MIN_SECRET_BYTES - 1) + b"\n")
    with pytest.raises(ConfigError, match="31 bytes: it needs at least 32"):
        read_secret(short)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path)


def test_a_secret_loses_the_newline_its_file_ends_with(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    assert read_secret(path) == SECRET
