import asyncio
import ssl
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from cryptography import x509

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime.client import DialError, DialPolicy, Replicas
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.settings import ServerSettings
from antiphon_runtime.testing import serving
from antiphon_runtime.tls import ClientTls, Watched, read_pem, server_credentials

from .certs import Authority, Pair
from .echo import SERVICE, Echo, config

IMPATIENT = DialPolicy(ready_s=0.5, total_s=0.5)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def other(tmp_path) -> Authority:
    return Authority(tmp_path, "other")


def secure(echo: Echo, pair: Pair, client_ca=None):
    settings = ServerSettings(
        bind="127.0.0.1:0", grace_s=0.0, tls_cert_file=pair.cert, tls_key_file=pair.key, tls_client_ca_file=client_ca
    )
    return serving(SERVICE, echo.build, settings)


@asynccontextmanager
async def dialling(target: str, tls: ClientTls | None, policy: DialPolicy | None = None):
    replicas = Replicas([target], lambda c: asr_pb2_grpc.AsrServiceStub(c).Transcribe, tls=tls, policy=policy)
    try:
        yield replicas
    finally:
        await replicas.close()


async def serial_shown(port: int) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(ssl.SSLError, ConnectionError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_client_that_trusts_the_authority_gets_through(echo, authority, host):
    async with (
        secure(echo, authority.issue("server")) as at,
        dialling(f"{host}:{at.port}", ClientTls(authority.cert)) as replicas,
    ):
        assert (await replicas.open(config())).ready.stream_id


async def test_a_client_that_trusts_another_authority_does_not(echo, authority, other):
    async with (
        secure(echo, authority.issue("server")) as at,
        dialling(at.target, ClientTls(other.cert), IMPATIENT) as replicas,
    ):
        with pytest.raises(DialError) as refused:
            await replicas.open(config())
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE
    assert echo.attempts == 0


async def test_a_client_without_tls_does_not(echo, authority):
    async with secure(echo, authority.issue("server")) as at, dialling(at.target, None, IMPATIENT) as replicas:
        with pytest.raises(DialError):
            await replicas.open(config())
    assert echo.attempts == 0


async def test_with_a_client_authority_only_clients_that_it_signed_get_through(echo, authority, other):
    good, bad = authority.issue("client"), other.issue("stranger")
    async with secure(echo, authority.issue("server"), authority.cert) as at:
        async with dialling(at.target, ClientTls(authority.cert, good.cert, good.key)) as replicas:
            assert (await replicas.open(config())).ready.stream_id
        for tls in (ClientTls(authority.cert), ClientTls(authority.cert, bad.cert, bad.key)):
            async with dialling(at.target, tls, IMPATIENT) as replicas:
                with pytest.raises(DialError):
                    await replicas.open(config())
    assert echo.attempts == 1


async def test_a_renewed_certificate_is_shown_to_the_next_connection(echo, authority):
    old = authority.issue("server")
    async with secure(echo, old) as at, dialling(at.target, ClientTls(authority.cert)) as replicas:
        stream = await replicas.open(config())
        assert await serial_shown(at.port) == old.serial
        new = authority.issue("server")
        assert await serial_shown(at.port) == new.serial != old.serial
        stream.cancel()


async def test_a_renewal_that_is_half_written_keeps_the_old_certificate_until_it_is_whole(echo, authority, other):
    pair = authority.issue("server")
    async with secure(echo, pair) as at:
        whole_cert, whole_key = pair.cert.read_bytes(), pair.key.read_bytes()
        pair.cert.write_bytes(whole_cert[:100])
        assert await serial_shown(at.port) == pair.serial
        pair.cert.write_bytes(b"")
        assert await serial_shown(at.port) == pair.serial
        pair.cert.unlink()
        assert await serial_shown(at.port) == pair.serial
        new = authority.issue("server")
        new_key = new.key.read_bytes()
        new.key.write_bytes(whole_key)  # the new certificate, still with the old key
        assert await serial_shown(at.port) == pair.serial
        new.key.write_bytes(new_key)
        assert await serial_shown(at.port) == new.serial


async def test_a_client_that_trusts_a_new_authority_uses_it_from_the_next_stream_on(echo, authority, other):
    async with secure(echo, other.issue("server")) as at:
        tls = ClientTls(authority.cert)
        async with dialling(at.target, tls, IMPATIENT) as first, dialling(at.target, tls, IMPATIENT) as second:
            for replicas in (first, second):
                with pytest.raises(DialError):
                    await replicas.open(config())
            authority.cert.write_bytes(other.cert.read_bytes())
            for replicas in (first, second):  # both notice, though they share their files
                assert (await replicas.open(config())).ready.stream_id


async def test_a_stream_outlives_the_renewal_of_its_clients_certificate(echo, authority):
    client = authority.issue("client")
    async with secure(echo, authority.issue("server"), authority.cert) as at:
        tls = ClientTls(authority.cert, client.cert, client.key)
        async with dialling(at.target, tls) as replicas:
            old = await replicas.open(config())
            authority.issue("client")
            new = await replicas.open(config())
            assert replicas.open_streams == 2
            for stream in (old, new):
                await stream.done_writing()
                assert [event async for event in stream] == []
            assert replicas.open_streams == 0


def test_a_client_says_once_that_its_files_changed_and_keeps_the_old_ones_while_they_are_broken(authority):
    pair = authority.issue("client")
    tls = ClientTls(authority.cert, pair.cert, pair.key)
    before = tls.credentials
    assert not tls.renewed()
    whole = pair.cert.read_bytes()
    pair.cert.write_bytes(whole[:100])
    assert not tls.renewed()
    assert tls.credentials is before
    pair.cert.write_bytes(whole + b"\n")
    assert tls.renewed()
    assert tls.credentials is not before
    assert not tls.renewed()


def test_what_could_not_be_used_is_looked_at_again_even_if_it_does_not_change(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    files = Watched(path)
    assert files.changed()
    assert not files.changed()
    files.again()
    assert files.changed()


def test_files_that_cannot_serve_are_refused_by_name(authority, other, tmp_path):
    pair, stranger = authority.issue("server"), other.issue("stranger")
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_pem(tmp_path / "none")
    with pytest.raises(ConfigError, match="empty is not a PEM file"):
        server_credentials(empty, pair.key, None)
    with pytest.raises(ConfigError, match=r"server\.crt and .*stranger\.key are not a certificate and its key"):
        server_credentials(pair.cert, stranger.key, None)
    with pytest.raises(ConfigError, match=r"server\.key holds no certificates"):
        server_credentials(pair.cert, pair.key, pair.key)
    with pytest.raises(ConfigError, match="go together"):
        ClientTls(authority.cert, pair.cert)
