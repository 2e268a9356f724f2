"""The orchestrator with tools that an integrator might add: slow, broken, or without a result.

Runs with the Python of whichever version is measured, so it imports nothing of this one.
"""

import asyncio
import os
from importlib import import_module
from typing import Any, NoReturn

from pipecat.services.llm_service import FunctionCallParams

from antiphon_orchestrator import tools
from antiphon_orchestrator.__main__ import main

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


def make_raise(names: str) -> None:
    """Has methods of the orchestrator raise, "module.Class.method" with spaces between.

    One that this version has not is left out; raises SystemExit when it has none of them.
    """
    found = []
    for name in names.split():
        module, kind, method = name.split(".")
        try:
            owner: Any = getattr(import_module(f"antiphon_orchestrator.{module}"), kind)
        except (ImportError, AttributeError):
            continue
        if hasattr(owner, method):
            setattr(owner, method, _raising)
            found.append(name)
    if names and not found:
        raise SystemExit(f"TROUBLE_RAISING: the orchestrator has none of {names}; name what it has")


def _raising(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("made to raise by the bench")


if __name__ == "__main__":
    tools.TOOLS.update(book=book, broken=broken, forever=forever, no_result=no_result)
    make_raise(os.environ.get("TROUBLE_RAISING", ""))
    main()
