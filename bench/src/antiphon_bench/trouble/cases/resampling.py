"""Callers of other rates: heard as soon as those of 16 kHz."""

import statistics

from ..call import Call
from ..case import ANSWER, Trial, case
from ..line import Format
from ..model import Reply
from ..sounds import beep

GROUP = "16.6"
QUESTIONS = 4
# More than the 20 ms that are the goal on an idle machine: the bench runs beside other calls.
MOST_LATER_S = 0.045


async def _waits(call: Call) -> list[float]:
    """From the end of each question to the first sound of its answer."""
    waits = []
    for _ in range(QUESTIONS):
        await call.say(beep(0.5), "")
        end_s = call.owed[-1].at_s
        await call.reply(4.0, for_s=0.5)
        if (heard_s := call.heard_after(end_s)) is not None:
            waits.append(heard_s - end_s)
    return waits


async def _compared(trial: Trial, form: Format) -> None:
    trial.play(Reply("It is."))
    async with trial.call() as usual:
        first = await _waits(usual)
    async with trial.call(form=form) as other:
        second = await _waits(other)
    if len(first) == len(second) == QUESTIONS:
        later_s = statistics.median(second) - statistics.median(first)
        trial.expect(later_s < MOST_LATER_S, f"{form.rate_hz} Hz is heard {1000 * later_s:.0f} ms later than 16 kHz")


def _rate(form: Format, name: str) -> None:
    @case("D5", GROUP, "as quick as 16 kHz", name=name, limit_s=40.0)
    async def run(trial: Trial) -> None:
        await _compared(trial, form)


_rate(Format(8_000), "caller_of_8_khz")
_rate(Format(48_000), "caller_of_48_khz")


@case("38", GROUP, "answered")
async def caller_of_44_khz_in_stereo(trial: Trial) -> None:
    """A sound card's rate, two channels."""
    async with trial.call(form=Format(44_100, 2)) as call:
        await call.say(beep(), ANSWER)
        await call.reply()
