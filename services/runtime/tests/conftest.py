import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime.client import DialPolicy, Replicas
from antiphon_runtime.testing import Served, serving

from .echo import SERVICE, Echo

SHORT = DialPolicy(ready_s=0.3, total_s=0.8, backoff_s=0.05)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def served(echo: Echo) -> AsyncIterator[Served]:
    async with serving(SERVICE, echo.build) as at:
        yield at


@pytest.fixture
def stub(served: Served) -> asr_pb2_grpc.AsrServiceStub:
    return asr_pb2_grpc.AsrServiceStub(served.channel)


@pytest.fixture
async def dial():
    """Makes Replicas that are closed when the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        def make(*targets: str, **options) -> Replicas:
            replicas = Replicas(targets, lambda c: asr_pb2_grpc.AsrServiceStub(c).Transcribe, **options)
            stack.push_async_callback(replicas.close)
            return replicas

        yield make


@pytest.fixture
async def pair():
    """Two replicas with a slot or two each."""
    a, b = Echo(slots=2, name="a"), Echo(slots=2, name="b")
    async with serving(SERVICE, a.build) as at_a, serving(SERVICE, b.build) as at_b:
        yield (a, at_a), (b, at_b)


async def eventually(reached) -> None:
    """Lets the loop run until `reached()`; the test's timeout bounds it."""
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # what it waits for has no event of its own: gauges, tasks
