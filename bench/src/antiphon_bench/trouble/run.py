"""Runs cases: several at once, each within its time, each to a row."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .case import Case, Place, Side, Stack, Trial
from .judge import Verdict

# A case may take this much longer than it says, for its orchestrator to start.
START_S = 30.0
# Orchestrators of a case's own that run at once.
MOST_PRIVATE = 2
# A caller whose clock lags by more hears gaps that nobody made.
DOUBTFUL_S = 0.5

Places = Callable[[Case, Side], AbstractAsyncContextManager[Place]]


@dataclass(frozen=True, slots=True)
class Row:
    """The outcome of a case on one side."""

    case: Case
    side: Side
    verdict: Verdict
    seconds: float
    calls: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    load: float
    late_s: float = 0.0
    # False: it was not run or it crashed, so its result says nothing about the product.
    ran: bool = True

    @property
    def passed(self) -> bool:
        return not self.verdict.reasons

    @property
    def reasons_doubtful(self) -> bool:
        """True when a failure may be the busy machine's."""
        return not self.passed and self.late_s > DOUBTFUL_S

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case.name,
            "row": self.case.row,
            "group": self.case.group,
            "kind": self.case.kind,
            "stack": self.case.stack.value,
            "side": self.side.value,
            "must": self.case.must,
            "passed": self.passed,
            "ran": self.ran,
            "dead_air": self.verdict.dead_air,
            "lost_answers": self.verdict.lost_answers,
            "forged": self.verdict.forged,
            "self_talk": self.verdict.self_talk,
            "reasons": self.verdict.reasons,
            "seconds": round(self.seconds, 1),
            "load": round(self.load, 2),
            "late_s": round(self.late_s, 2),
            "calls": self.calls,
            "requests": self.requests,
        }


async def run_case(case: Case, place: Place, side: Side, recordings: Path, patience: float = 1.0) -> Row:
    """The case, judged; what goes wrong in it is a reason, never an exception. A failing one is recorded."""
    began_s = time.monotonic()
    trial = Trial(case, place, side, patience)
    ran = True
    try:
        async with asyncio.timeout(case.limit_s * patience):
            await case.run(trial)
    except TimeoutError:
        trial.verdict.reasons.append(f"not over within {case.limit_s * patience:.0f} s")
    except Exception as error:
        ran = False
        trial.verdict.reasons.append(f"{type(error).__name__}: {error}"[:200])
    turns = [await call.turns() for call in trial.calls]
    verdict = trial.judge()
    if verdict.reasons:
        for number, call in enumerate(trial.calls):
            await asyncio.to_thread(call.save, recordings / f"{case.name}-{side.value}-{number}.wav")
    return Row(
        case,
        side,
        verdict,
        time.monotonic() - began_s,
        [call.to_json() | {"turns": told} for call, told in zip(trial.calls, turns, strict=True)],
        [request.to_json() for request in trial.requests],
        os.getloadavg()[0],
        max((call.late_s for call in trial.calls), default=0.0),
        ran,
    )


async def run_cases(
    cases: Sequence[Case],
    places: Places,
    jobs: int,
    recordings: Path,
    note: Callable[[Row], None],
    patience: float = 1.0,
) -> list[Row]:
    """All of them on one stack, `jobs` at once; with a plain bot beside those it applies to, one call at a time."""
    ours = asyncio.Semaphore(jobs)
    private = asyncio.Semaphore(MOST_PRIVATE)
    plain = asyncio.Lock()
    rows: list[Row] = []

    async def one(case: Case, side: Side) -> None:
        # In this order, so that a case that waits for an orchestrator of its own holds no place.
        async with _held(private if case.is_private else None), _held(plain if side is Side.PLAIN else None), ours:
            row = await _placed(case, places, side, recordings, patience)
        rows.append(row)
        note(row)

    async with asyncio.TaskGroup() as tasks:
        for case in cases:
            if not case.alone:
                tasks.create_task(one(case, Side.OURS), name=case.name)
            if case.plain and case.stack is Stack.REAL:
                tasks.create_task(one(case, Side.PLAIN), name=f"{case.name} plain")
    for case in cases:
        if case.alone:
            await one(case, Side.OURS)
    order = {case.name: number for number, case in enumerate(cases)}
    return sorted(rows, key=lambda row: (order[row.case.name], row.side.value))


async def _placed(case: Case, places: Places, side: Side, recordings: Path, patience: float) -> Row:
    try:
        async with asyncio.timeout((case.limit_s + START_S) * patience), places(case, side) as place:
            return await run_case(case, place, side, recordings, patience)
    except Exception as error:
        verdict = Verdict(reasons=[f"not run: {type(error).__name__}: {error}"[:300]])
        return Row(case, side, verdict, 0.0, [], [], os.getloadavg()[0], ran=False)


@asynccontextmanager
async def _held(lock: asyncio.Semaphore | asyncio.Lock | None) -> AsyncIterator[None]:
    if lock is None:
        yield
        return
    async with lock:
        yield
