"""The addresses that a client's targets stand for."""

import asyncio
import socket

import pytest

from antiphon_runtime.client import DialError, Replicas
from antiphon_runtime.errors import ConfigError

from .conftest import SHORT
from .echo import Echo, config, say
from .test_server import free_port, running


async def test_a_name_that_does_not_resolve_is_told_within_the_total(dial):
    with pytest.raises(DialError, match=r"no address for nowhere\.invalid:1") as lost:
        await dial("nowhere.invalid:1", policy=SHORT).open(config())
    assert lost.value.reason == "NO_ADDRESS"


async def test_a_slow_resolver_holds_nobody_up_beyond_the_total(dial, monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    replicas = dial("asr:1", policy=SHORT)
    with pytest.raises(DialError) as lost:
        await replicas.open(config())
    assert lost.value.reason == "NO_ADDRESS"
    await replicas.close()


@pytest.fixture
def names(monkeypatch):
    """Name resolution table that a test can change."""
    table: dict[str, list[str]] = {}

    async def lookup(host, port, **_):
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]]

    async def install() -> dict[str, list[str]]:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
        return table

    return install


async def test_a_name_may_come_to_stand_for_more_addresses_and_for_fewer(dial, names):
    table, port, a, b = await names(), free_port(), Echo(name="a"), Echo(name="b")
    async with running(a, bind=f"127.0.0.1:{port}"), running(b, bind=f"127.0.0.2:{port}"):
        table["asr"] = ["127.0.0.1"]
        replicas = dial(f"asr:{port}", resolve_every_s=0.0)
        first = await replicas.open(config())
        table["asr"] = ["127.0.0.2"]
        while (stream := await replicas.open(config())).address != f"127.0.0.2:{port}":
            stream.cancel()
        await first.write(say("still here"))  # a stream outlives its address
        assert (await anext(first)).transcript.text == "astill here"
        del table["asr"]  # the resolver fails: what is known stays
        assert (await replicas.open(config())).address == f"127.0.0.2:{port}"
        await replicas.close()


async def test_localhost_with_an_address_that_nobody_serves_works(served, dial):
    found = {at[0] for *_, at in socket.getaddrinfo("localhost", served.port, type=socket.SOCK_STREAM)}
    replicas = dial(f"localhost:{served.port}")
    for _ in range(5):
        assert (await replicas.open(config())).address == served.target
    assert "127.0.0.1" in found


async def test_two_addresses_of_one_name_one_of_them_dead_work(dial, names, echo):
    table, port = await names(), free_port()
    table["asr"] = ["127.0.0.3", "127.0.0.1"]
    async with running(echo, bind=f"127.0.0.1:{port}"):
        replicas = dial(f"asr:{port}")
        for _ in range(5):
            assert (await replicas.open(config())).address == f"127.0.0.1:{port}"
        await replicas.close()


@pytest.mark.parametrize("target", ["asr", "asr:", ":50051", "asr:http"])
def test_a_target_that_is_not_host_and_port_is_refused(target):
    with pytest.raises(ConfigError, match="is not host:port"):
        Replicas([target], lambda channel: channel)
