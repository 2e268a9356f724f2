import asyncio
from collections.abc import AsyncIterator

import pytest

from antiphon.asr.v1 import asr_pb2_grpc
from antiphon_runtime.testing import Served, serving

from .echo import SERVICE, Echo


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


async def eventually(reached) -> None:
    """Lets the loop run until `reached()`; the test's timeout bounds it."""
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # what it waits for has no event of its own: gauges, tasks
