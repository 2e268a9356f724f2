"""A spoken conversation from nothing: everything started, called, and stopped."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from antiphon_bench import questions
from antiphon_bench.call import Call
from antiphon_bench.caller import place_call

from .platform import Plan, free_ports
from .supervisor import running, until_signalled


async def run_demo(
    models_dir: Path, say: Callable[[str, str], None], all_ready: Callable[[], None] = lambda: None
) -> Call:
    """Calls a platform of its own on free ports with the bundled questions. Raises CallError, or Died."""
    plan = Plan(models_dir=models_dir, ports=free_ports(), metrics=False)
    async with until_signalled() as stopped:
        calling = asyncio.create_task(_call(plan, say, all_ready), name="demo")
        stopping = asyncio.create_task(stopped.wait(), name="signal")
        await asyncio.wait((calling, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not calling.done():
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            raise KeyboardInterrupt
        return calling.result()


async def _call(plan: Plan, say: Callable[[str, str], None], all_ready: Callable[[], None]) -> Call:
    async with running(plan, say):
        all_ready()
        return await place_call(plan.call_url, questions())
