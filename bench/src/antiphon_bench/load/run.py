"""A load test as it runs: callers in one process, and several processes of them."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from ..stats import ranked_at
from .belongs import Judge
from .caller import Caller, Lines
from .material import questions, silence
from .pacing import Kept, Pacer
from .plan import Plan, Transport
from .rows import TurnRow
from .services import call_service, replicas_of, service_of
from .wire import WsLine

# Before the first caller calls: the processes read what is said meanwhile.
LEAD_S = 1.0
READY_S = 60.0


class Line(Protocol):
    """A caller's connection."""

    def tick(self, due_s: float, now_s: float) -> None: ...

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a plan: every turn of every caller, how each process kept time, and CPU seconds it took."""

    plan: Plan
    rows: tuple[TurnRow, ...]
    pacing: tuple[Kept, ...]
    wall_s: float
    cpu_s: float


def load(plan: Plan, processes: int, on_row: Callable[[TurnRow], None] = lambda _row: None) -> Loaded:
    """Runs it, its callers spread over `processes`. Raises AudioError, and RuntimeError when a process dies."""
    began_s = time.monotonic()
    lines_of(plan)  # what cannot be read is told here, once
    context = multiprocessing.get_context("spawn")
    shares = [list(range(plan.callers))[number :: min(processes, plan.callers)] for number in range(processes)]
    pipes: list[Connection] = []
    members = []
    for share in filter(None, shares):
        ours, theirs = context.Pipe()
        member = context.Process(target=_work, args=(plan, share, theirs), daemon=True)
        member.start()
        theirs.close()
        pipes.append(ours)
        members.append(member)
    try:
        rows, pacing, cpu_s = _gathered(pipes, on_row)
    finally:
        for member in members:
            member.join(timeout=5)
            if member.is_alive():
                member.terminate()
    rows.sort(key=lambda row: (row.caller, row.number))
    return Loaded(plan, tuple(rows), tuple(pacing), time.monotonic() - began_s, cpu_s)


def _gathered(
    pipes: Sequence[Connection], on_row: Callable[[TurnRow], None]
) -> tuple[list[TurnRow], list[Kept], float]:
    for pipe in pipes:
        if not pipe.poll(READY_S) or pipe.recv() != "ready":
            raise RuntimeError(f"a process of callers was not ready within {READY_S:g} s")
    start_s = time.monotonic() + LEAD_S
    for pipe in pipes:
        pipe.send(start_s)
    rows: list[TurnRow] = []
    pacing: list[Kept] = []
    cpu_s, going = 0.0, list(pipes)
    while going:
        for pipe in [one for one in wait(going) if isinstance(one, Connection)]:
            try:
                told: Any = pipe.recv()
            except EOFError as error:
                raise RuntimeError("a process of callers has died") from error
            if isinstance(told, TurnRow):
                rows.append(told)
                on_row(told)
            else:
                pacing.append(told[0])
                cpu_s += told[1]
                going.remove(pipe)
    return rows, pacing, cpu_s


def lines_of(plan: Plan) -> Lines:
    """What the plan's callers say. Raises AudioError."""
    plain = questions(plan.files, plan.manner, seed=plan.seed)
    paused = questions(plan.files, plan.manner, paused=True, seed=plan.seed) if plan.manner.pause_share else plain
    return Lines(plain, paused, silence(plan.manner, plan.seed), Judge(plain))


def _work(plan: Plan, numbers: Sequence[int], pipe: Connection) -> None:
    lines = lines_of(plan)
    pipe.send("ready")
    start_s = pipe.recv()
    before_s = time.process_time()
    kept = asyncio.run(callers(plan, numbers, lines, start_s, pipe.send))
    pipe.send((kept, time.process_time() - before_s))
    pipe.close()


async def callers(
    plan: Plan, numbers: Sequence[int], lines: Lines, start_s: float, on_row: Callable[[TurnRow], None]
) -> Kept:
    """These callers of the plan, in this process, to the end of their calls."""
    if service_of(plan.url):
        return await _callers_of_a_service(plan, numbers, lines, start_s, on_row)
    pacer, starts_s = Pacer(start_s), plan.starts_s()
    open_lines: set[Line] = set()

    async def one(number: int) -> None:
        await asyncio.sleep(start_s + starts_s[number] - time.monotonic())
        caller = Caller(number, lines, plan.manner, plan.turns, plan.timeout_s, on_row, start_s)
        line = _line(plan, caller)
        open_lines.add(line)
        try:
            await line.run()
        finally:
            open_lines.discard(line)

    async def keep_time() -> None:
        async for due_s, now_s in pacer.ticks():
            for line in tuple(open_lines):
                line.tick(due_s, now_s)

    pacing = asyncio.create_task(keep_time(), name="pacing")
    try:
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(one(number), name=f"caller {number}")
    finally:
        pacing.cancel()
        await asyncio.gather(pacing, return_exceptions=True)
    return pacer.kept()


async def _callers_of_a_service(
    plan: Plan, numbers: Sequence[int], lines: Lines, start_s: float, on_row: Callable[[TurnRow], None]
) -> Kept:
    late_ms: list[float] = []

    def noted(row: TurnRow) -> None:
        late_ms.append(row.late_ms)
        on_row(row)

    async def one(number: int) -> None:
        await asyncio.sleep(start_s + starts_s[number] - time.monotonic())
        await call_service(plan, number, lines, replicas, noted, start_s)

    starts_s = plan.starts_s()
    async with replicas_of(plan.url) as replicas, asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(one(number), name=f"caller {number}")
    return Kept(len(late_ms), ranked_at(late_ms, 0.5), ranked_at(late_ms, 0.99), ranked_at(late_ms, 1.0), 0.0)


def _line(plan: Plan, caller: Caller) -> Line:
    if plan.transport is Transport.WEBRTC:
        from .webrtc import WebRtcLine  # what it needs is not everywhere

        return WebRtcLine(plan, caller)
    return WsLine(plan, caller)


def default_processes(callers: int) -> int:
    """As many as there are cores, as long as each has ten callers."""
    return max(1, min(os.cpu_count() or 1, callers // 10))


def with_callers(plan: Plan, callers: int) -> Plan:
    return replace(plan, callers=callers)
