"""The orchestrator with tools that an integrator might add: slow, broken, or without a result.

Runs with the Python of whichever version is measured, so it imports nothing of this one.
"""

import asyncio

from antiphon_orchestrator import tools
from antiphon_orchestrator.__main__ import main
from pipecat.services.llm_service import FunctionCallParams

BOOKING_S = 2.5


async def book(params: FunctionCallParams, item: str = "") -> None:
    """Book something.

    Args:
        item: What to book.
    """
    await asyncio.sleep(BOOKING_S)
    await params.result_callback({"booked": True, "reference": "AB12"})


async def broken(params: FunctionCallParams) -> None:
    """Read from a database that is down."""
    raise RuntimeError("database is down")


async def forever(params: FunctionCallParams) -> None:
    """Wait for something that never comes."""
    await asyncio.Event().wait()


async def no_result(params: FunctionCallParams) -> None:
    """Return without a result."""


if __name__ == "__main__":
    tools.TOOLS.update(book=book, broken=broken, forever=forever, no_result=no_result)
    main()
