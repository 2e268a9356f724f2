"""Random combinations of gaps, noises and hiccups of services, on stubs. A seed and a number give the same one."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..wav import CALL_RATE_HZ
from .call import Call
from .case import ANSWER, Case, Place, Side, Trial
from .judge import self_talk
from .line import TICK_S, Silence
from .model import Reply
from .run import Row, run_case
from .sounds import beep, stationary

TURNS = 2
LIMIT_S = 45.0
GAPS = ("none", "mute", "cut", "dtx", "nothing", "stall", "bursts", "lost")
NOISES = ("none", "hiss", "click", "barge-in")
HICCUPS = ("none", "asr", "tts", "llm", "turn", "slow", "fails", "cut-asr", "cut-tts")
# Noise that neither stub takes for a voice.
HISS_DBFS = -60.0
# A gap of so much within words may be taken for the pause of 200 ms that ends a turn.
HEARD_AS_PAUSE_S = 0.15
# A line stalls from the first word on for as long as the second one lasts, and for the gap.
STALLED_WORDS_S = 0.4


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: what happens to the line, behind the caller and to the services, and for how long."""

    gap: str
    gap_s: float
    noise: str
    hiccup: str
    hiccup_s: float


@dataclass(frozen=True, slots=True)
class Combination:
    """A call of some steps."""

    name: str
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(
            f"gap {step.gap} {step.gap_s:.2f} s, noise {step.noise}, hiccup {step.hiccup} {step.hiccup_s:.2f} s"
            for step in self.steps
        )


def combination(seed: int, number: int) -> Combination:
    """The combination of a number, whatever others there are."""
    draw = random.Random(f"{seed} {number}")
    steps = tuple(
        Step(
            draw.choice(GAPS),
            round(draw.uniform(0.1, 2.0), 2),
            draw.choice(NOISES),
            draw.choice(HICCUPS),
            round(draw.uniform(0.1, 1.2), 2),
        )
        for _ in range(TURNS)
    )
    return Combination(f"random_{seed}_{number}", steps)


def as_case(one: Combination) -> Case:
    """The combination as a case; its place must have proxies."""

    async def run(trial: Trial) -> None:
        async with trial.call() as call:
            for step in one.steps:
                await _turn(trial, call, step)

    return Case(
        name=one.name, row="-", group="16.11", kind="random", must="no dead air, nothing lost", run=run, limit_s=LIMIT_S
    )


def _most_calls(step: Step) -> int:
    """Model calls that the question of a step may cost: a gap in the words is heard as a pause, which may end it."""
    gaps_s = {"stall": STALLED_WORDS_S + step.gap_s, "lost": _lost_s(step), "bursts": _burst_ticks(step) * TICK_S}
    return 1 + (gaps_s.get(step.gap, 0.0) > HEARD_AS_PAUSE_S)


def _lost_s(step: Step) -> float:
    return step.gap_s / 2


def _burst_ticks(step: Step) -> int:
    return 2 + round(5 * step.gap_s)


def _expect_calls(trial: Trial, step: Step, most: int) -> None:
    """Nothing but what the caller said is answered; a service that hiccups may have to be asked again."""
    if step.hiccup == "none" and (more := self_talk([one.to_json() for one in trial.requests], most)):
        trial.verdict.self_talk += more
        trial.expect(False, f"the model was asked {more} times more than the caller asked")


async def _turn(trial: Trial, call: Call, step: Step) -> None:
    usual = Reply(ANSWER, wait_s=step.hiccup_s if step.hiccup == "slow" else 0.0)
    if step.hiccup == "fails":
        # Once, and when it is asked again: more failures in a row would rightly end the call.
        trial.script(lambda number, _: Reply("no", status=500) if number < 2 else usual)
    else:
        trial.play(usual)
    call.line.noise = stationary(HISS_DBFS) if step.noise == "hiss" else None
    most = _most_calls(step)
    async with _hiccup(trial, step):
        await _question(call, step, "" if step.hiccup == "fails" else ANSWER)
        if step.noise in ("click", "barge-in") and await call.speaks(4.0, call.owed[-1].at_s):
            await call.sleep(0.6)
            _usual(call)
            if step.noise == "click":
                most += 1  # the stub may take it for a word
                await call.say(beep(0.06), None)
            else:
                _expect_calls(trial, step, most)
                most = 1
                trial.play(Reply(ANSWER))
                await call.say(beep(0.6), ANSWER)
        await call.reply(4.0)
    _expect_calls(trial, step, most)
    _usual(call)
    await call.sleep(0.3)


def _usual(call: Call) -> None:
    call.line.muted, call.line.silence, call.line.burst_ticks = False, Silence.SENT, 1


async def _question(call: Call, step: Step, answer: str) -> None:
    """A question over a line with the step's gap."""
    sound = beep(0.8)
    match step.gap:
        case "mute":
            await call.say(sound, answer)
            call.line.muted = True
        case "cut":
            await call.say(sound[: round(0.5 * CALL_RATE_HZ)], answer)
            call.line.muted = True
        case "dtx" | "nothing":
            call.line.silence = Silence.COMFORT if step.gap == "dtx" else Silence.NOTHING
            await call.say(sound, answer)
        case "stall":
            await _stalled(call, step, answer)
        case "bursts":
            call.line.burst_ticks = _burst_ticks(step)
            await call.say(sound, answer)
        case "lost":
            await call.say(beep(0.4), None)
            call.line.stall()
            await call.say(beep(_lost_s(step)), None)
            call.line.forget()
            await call.say(beep(0.4), answer)
        case _:
            await call.say(sound, answer)


async def _stalled(call: Call, step: Step, answer: str) -> None:
    await call.say(beep(0.4), None)
    call.line.stall()
    await call.say(beep(STALLED_WORDS_S), None)
    await call.sleep(step.gap_s)
    call.line.release()
    # What was late is heard now, so that is when the turn ends for the agent.
    call.owe(call.least_s(answer) if answer else 0.1)


@asynccontextmanager
async def _hiccup(trial: Trial, step: Step) -> AsyncIterator[None]:
    """One service hesitates, or loses its connections, some time into the turn."""
    proxies = trial.place.proxies

    async def later() -> None:
        await asyncio.sleep(0.4)
        if step.hiccup.startswith("cut-"):
            proxies[step.hiccup.removeprefix("cut-")].cut()
        elif step.hiccup in proxies:
            await proxies[step.hiccup].hiccup(step.hiccup_s)

    task = asyncio.create_task(later(), name="hiccup")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if step.hiccup in proxies:
            proxies[step.hiccup].go_on()


Lane = Callable[[int], AbstractAsyncContextManager[Place]]


async def run_random(
    cases: Sequence[Case],
    lane: Lane,
    lanes: int,
    recordings: Path,
    note: Callable[[Row], None],
    patience: float = 1.0,
) -> list[Row]:
    """All of them, each lane with an orchestrator of its own and one call at a time."""
    waiting = iter(cases)
    rows: list[Row] = []

    async def worker(number: int) -> None:
        async with lane(number) as place:
            for case in waiting:
                row = await run_case(case, place, Side.OURS, recordings, patience)
                rows.append(row)
                note(row)

    async with asyncio.TaskGroup() as tasks:
        for number in range(min(lanes, len(cases))):
            tasks.create_task(worker(number), name=f"lane {number}")
    order = {case.name: number for number, case in enumerate(cases)}
    return sorted(rows, key=lambda row: order[row.case.name])
